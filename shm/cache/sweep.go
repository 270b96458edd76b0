package cache

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-869cc763/shmkv/shm"
)

// A sweeper deletes items that have expired, in the order of positions of the map, round
// after round. Writers do a little of it now and then. One handle of all processes does it in
// the background: it says in the sketch until when, and goes on to say so.
type sweeper struct {
	needed atomic.Bool   // the handle has met an item that can expire
	writes atomic.Uint64 // since it has

	mu     sync.Mutex // of who sweeps
	cursor uint64     // the position where the next step begins
	keys   [][]byte
	round  round

	lease int64 // until when this handle has said that it sweeps, in nanoseconds since 1970

	quit chan struct{} // nil: nothing runs in the background
	done chan struct{}
}

// A round is what the steps have found since the beginning of the map.
type round struct {
	expired  int
	earliest int64 // of the items that expire later; 0: there are none
}

const (
	// A write in writesPerSweep looks at writerSweep items.
	writesPerSweep = 64
	writerSweep    = 32
	// In the background a step looks at stepSweep items, and then rests for restFor times as
	// long as it took, so that it takes at most one percent of a processor. After a round
	// that has found no expired item it rests until the first item expires, but at least for
	// tick and at most for longRest. It looks at the lease once in a tick.
	stepSweep = 256
	restFor   = 99
	minRest   = 5 * time.Millisecond
	tick      = time.Second
	longRest  = 10 * time.Second
	// sweepLease is for how long a handle says that it sweeps.
	sweepLease = 3 * time.Second
)

// hasExpiry notes that the region has items that can expire.
func (c *Cache) hasExpiry() {
	if !c.sweep.needed.Load() {
		c.sweep.needed.Store(true)
	}
}

// sweepSome is a writer's part of the sweep.
func (c *Cache) sweepSome() {
	w := &c.sweep
	if w.needed.Load() && w.writes.Add(1)%writesPerSweep == 0 && w.mu.TryLock() {
		defer w.mu.Unlock()
		_, err := c.sweepStep(writerSweep)
		c.logFailed(err)
	}
}

// sweepStep looks at the next items, and deletes those that have expired. It reports whether
// it came to the end of the map. The caller has sweep.mu.
func (c *Cache) sweepStep(items int) (end bool, err error) {
	w := &c.sweep
	from, next, earliest := w.cursor, uint64(0), int64(0)
	err = c.store.UpdateUnpinned(func(tx *shm.Tx) error {
		end, earliest = true, w.round.earliest
		w.keys = w.keys[:0]
		m := tx.Map(c.region)
		now, n := c.clock.now(), 0
		for key, b := range m.AllFrom(from) {
			if _, t, err := split(b); err == nil && t.expires != 0 {
				c.hasExpiry()
				if has(t.expires, now) {
					w.keys = append(w.keys, key)
				} else if earliest == 0 || t.expires < earliest {
					earliest = t.expires
				}
			}
			if n++; n == items {
				next = c.items.After(key)
				end = next <= from
				break
			}
		}
		if err := tx.Err(); err != nil {
			return err
		}
		for _, key := range w.keys {
			if _, err := m.Delete(key); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return false, err
	}
	if w.cursor = next; end {
		w.cursor = 0
	}
	w.round.expired += len(w.keys)
	w.round.earliest = earliest
	c.stats.expirations.Add(uint64(len(w.keys)))
	return end, nil
}

// startSweep starts the work in the background.
func (c *Cache) startSweep() {
	c.sweep.quit, c.sweep.done = make(chan struct{}), make(chan struct{})
	go c.runSweep()
}

func (c *Cache) stopSweep() {
	if c.sweep.quit != nil {
		close(c.sweep.quit)
		<-c.sweep.done
	}
}

func (c *Cache) runSweep() {
	w := &c.sweep
	defer close(w.done)
	defer c.endLease()
	wait := time.NewTimer(tick)
	defer wait.Stop()
	for due := time.Now(); ; {
		select {
		case <-w.quit:
			return
		case <-wait.C:
		}
		c.publish()
		rest := tick
		if began := time.Now(); c.leads() && !began.Before(due) {
			w.mu.Lock()
			end, err := c.sweepStep(stepSweep)
			found := w.round
			if end {
				w.round = round{}
			}
			w.mu.Unlock()
			if errors.Is(err, shm.ErrReadOnly) || errors.Is(err, shm.ErrClosed) {
				return
			}
			c.logFailed(err)
			rest = max(restFor*time.Since(began), minRest)
			if end && found.expired == 0 {
				rest = longRest
				if found.earliest != 0 {
					rest = min(max(time.Duration(found.earliest-c.clock.now()), tick), longRest)
				}
			}
			due = began.Add(rest)
		}
		wait.Reset(min(rest, tick))
	}
}

// leads reports whether the handle is the one that sweeps, and says so to the others.
func (c *Cache) leads() bool {
	m := c.sketch.mem
	if !m.Valid() {
		return true
	}
	now := time.Now()
	until, own := int64(m.Load(offSweep)), c.sweep.lease
	if until != own && until > now.UnixNano() && until < now.Add(2*sweepLease).UnixNano() {
		return false
	}
	if until == own && until > now.Add(sweepLease/2).UnixNano() {
		return true
	}
	next := now.Add(sweepLease).UnixNano()
	if !m.CAS(offSweep, uint64(until), uint64(next)) {
		return false
	}
	c.sweep.lease = next
	return true
}

// endLease lets another handle sweep at once.
func (c *Cache) endLease() {
	if m := c.sketch.mem; m.Valid() && c.sweep.lease != 0 {
		m.CAS(offSweep, uint64(c.sweep.lease), 0)
	}
}

func (c *Cache) logFailed(err error) {
	if err != nil && c.log != nil {
		c.log.Warn("deleting expired items failed", "region", c.region, "err", err)
	}
}
