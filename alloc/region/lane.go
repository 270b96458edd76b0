package region

import "unsafe"

// Lane returns a number from 0 to 255 that usually differs between goroutines. A
// goroutine keeps its number while its stack does not move, as a rule.
func Lane() int {
	var here byte
	return int(uint64(uintptr(unsafe.Pointer(&here))) >> 12 * 0x9e3779b97f4a7c15 >> 56)
}
