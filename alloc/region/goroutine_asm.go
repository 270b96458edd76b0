//go:build amd64 || arm64

package region

// goroutine returns the address of the runtime's record of the goroutine.
func goroutine() uintptr
