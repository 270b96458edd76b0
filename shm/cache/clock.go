package cache

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-869cc763/shmkv/alloc/region"
)

// A clock tells the time of day in nanoseconds since 1970, at most a millisecond late. It reads
// the system's clock again when the processor's counter tells that more time may have passed.
// The system's clock takes 55 ns, and makes the processor wait for all memory that it has asked
// for: among 100,000 items a read that looks at it takes a quarter longer, and one that looks
// at the counter does not. Processors without such a counter read the system's clock.
type clock struct {
	user func() time.Time // Options.Now, or nil

	mu    sync.Mutex // of who reads the system's clock
	ticks atomic.Uint64
	nanos atomic.Int64 // the time at ticks, or later
}

// now returns the time, which is at least 1.
func (c *clock) now() int64 {
	switch {
	case c.user != nil:
		return nanosOf(c.user())
	case !region.HasTicks:
		return nanosOf(time.Now())
	}
	if t := region.Ticks(); t-c.ticks.Load() < region.TicksPerMilli {
		return c.nanos.Load() // or what was stored since, which is later
	}
	if !c.mu.TryLock() {
		return nanosOf(time.Now())
	}
	defer c.mu.Unlock()
	t := region.Ticks()
	n := nanosOf(time.Now())
	c.nanos.Store(n)
	c.ticks.Store(t)
	return n
}

func nanosOf(t time.Time) int64 {
	if t.Before(firstTime) {
		return 1
	}
	return t.UnixNano()
}
