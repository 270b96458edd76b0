package region

import "unsafe"

// Lane returns a small number that is the same for a goroutine as long as its stack
// stays where it is, and as a rule another for other goroutines.
func Lane() int {
	var here byte
	return int(uint64(uintptr(unsafe.Pointer(&here))) >> 12 * 0x9e3779b97f4a7c15 >> 56)
}
