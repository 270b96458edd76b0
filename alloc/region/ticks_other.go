//go:build !amd64

package region

// HasTicks reports whether Ticks can be used.
const HasTicks = false

func ticks() uint64 { return 0 }
