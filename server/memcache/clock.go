package memcache

import (
	"sync"
	"time"
)

// A Clock is a clock that tests set by the command debugtime. The zero Clock tells the time of
// the system.
type Clock struct {
	mu     sync.Mutex
	paused time.Time // zero: it runs
	ahead  time.Duration
}

// Now returns the time.
func (k *Clock) Now() time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.paused.IsZero() {
		return time.Now().Add(k.ahead)
	}
	return k.paused
}

// Pause stops the clock, unless it stands.
func (k *Clock) Pause() {
	now := k.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.paused = now
}

// Run lets the clock go on from the time at which it stands.
func (k *Clock) Run() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.paused.IsZero() {
		k.ahead = time.Until(k.paused)
		k.paused = time.Time{}
	}
}

// Advance sets the clock forward by d, or back.
func (k *Clock) Advance(d time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.paused.IsZero() {
		k.ahead += d
	} else {
		k.paused = k.paused.Add(d)
	}
}
