package region

// Ticks returns the processor's counter of time, which goes on while a process is stopped. A
// millisecond has at least TicksPerMilli. Unlike the system's clock it does not make the processor wait for the loads
// before it. It serves to tell that little time has passed since another reading. A difference
// beyond TicksPerMilli tells nothing: the counters of two processors may differ.
func Ticks() uint64 { return ticks() }

// TicksPerMilli is the ticks of a millisecond on a processor whose counter runs at 1 GHz. That
// of others is faster.
const TicksPerMilli = 1_000_000
