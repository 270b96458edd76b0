//go:build amd64 || arm64

package region

// goroutine returns the address of the runtime's structure for the goroutine.
func goroutine() uintptr
