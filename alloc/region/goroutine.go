package region

// Goroutine returns a number that identifies the calling goroutine among all that exist.
// A later goroutine may get the same number.
func Goroutine() uintptr { return goroutine() }
