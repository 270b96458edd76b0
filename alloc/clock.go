package alloc

import (
	"sync/atomic"
	"time"
)

// clockTick is by how much a clock may be behind.
const clockTick = 100 * time.Millisecond

// A clock tells the time of day for one load, as it was up to a tick before. While
// nobody asks it does nothing. In a process that was stopped the first to ask may
// be told when that was.
//
// Its words are the process's own. unixNanos is set by whoever finds 0 there, and
// made 0 by the timer a tick later.
type clock struct {
	unixNanos atomic.Uint64
	timer     *time.Timer
}

func (c *clock) start() {
	c.timer = time.AfterFunc(time.Hour, func() { c.unixNanos.Store(0) })
	c.timer.Stop()
}

func (c *clock) now() uint64 {
	t := c.unixNanos.Load()
	if t == 0 {
		t = uint64(time.Now().UnixNano())
		c.unixNanos.Store(t)
		c.timer.Reset(clockTick)
	}
	return t
}
