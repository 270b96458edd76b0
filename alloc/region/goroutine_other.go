//go:build !amd64 && !arm64

package region

import (
	"bytes"
	"runtime"
	"strconv"
)

// goroutine returns the number of the goroutine in stack traces.
func goroutine() uintptr {
	var buf [64]byte
	line := bytes.TrimPrefix(buf[:runtime.Stack(buf[:], false)], []byte("goroutine "))
	number, _, _ := bytes.Cut(line, []byte(" "))
	n, _ := strconv.ParseUint(string(number), 10, 64)
	return uintptr(n)
}
