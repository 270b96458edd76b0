package region

// HasTicks reports whether Ticks can be used.
const HasTicks = true

// ticks reads the processor's counter of time.
func ticks() uint64
