package region

// Goroutine returns a number that identifies the calling goroutine among all
// that exist at the same time. Another goroutine may get it later.
func Goroutine() uintptr { return goroutine() }
