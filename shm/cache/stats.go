package cache

import (
	"sync"
	"sync/atomic"

	"github.com/seed-869cc763/shmkv/shm"
)

// Counts is what was counted of the work of caches.
type Counts struct {
	Hits        uint64 `json:"hits"`        // reads that found an item
	Misses      uint64 `json:"misses"`      // reads that found none
	Evictions   uint64 `json:"evictions"`   // items that were deleted to make room
	Expirations uint64 `json:"expirations"` // items that were deleted after they had expired
	Creations   uint64 `json:"creations"`   // values that GetOrCreate has asked for
	Waits       uint64 `json:"waits"`       // calls of GetOrCreate that had to sleep, because another one created
	Takeovers   uint64 `json:"takeovers"`   // creations that were taken over from one that was dead, or was stopped for longer than its lease
}

// counted is the number of counts in Counts.
const counted = 7

// words returns the counts in the order of the fields.
func (c Counts) words() [counted]uint64 {
	return [...]uint64{c.Hits, c.Misses, c.Evictions, c.Expirations, c.Creations, c.Waits, c.Takeovers}
}

func countsOf(w [counted]uint64) Counts { return Counts{w[0], w[1], w[2], w[3], w[4], w[5], w[6]} }

// Sub returns the difference of two looks at the same counts, of which old is the older one.
func (c Counts) Sub(old Counts) Counts {
	w := c.words()
	for i, n := range old.words() {
		w[i] -= n
	}
	return countsOf(w)
}

// Stats is a look at a cache.
type Stats struct {
	Counts           // of this handle, since it was opened
	All       Counts `json:"all"`        // of all handles on regions of the store, about; see Cache.Stats
	Items     int64  `json:"items"`      // of the region, expired ones included
	DataBytes int64  `json:"data_bytes"` // of their keys and values, with Overhead
	LiveBytes int64  `json:"live_bytes"` // of the blocks of the store, with those of other maps
	FileBytes int64  `json:"file_bytes"` // length of the file data, which is what is bounded
	Bound     int64  `json:"bound"`      // of FileBytes
	Target    int64  `json:"target"`     // of LiveBytes: a write that finds more evicts
}

// counters are the counts of a handle that do not lie in lanes.
type counters struct {
	evictions, expirations      atomic.Uint64
	creations, waits, takeovers atomic.Uint64

	mu        sync.Mutex
	published Counts // of this handle, that All has already
}

// counts returns the counts of the handle.
func (c *Cache) counts() (n Counts) {
	for i := range lanes {
		n.Hits += c.lanes.Word(uint64(i)*laneSize + laneHits)
		n.Misses += c.lanes.Word(uint64(i)*laneSize + laneMisses)
	}
	s := &c.stats
	n.Evictions, n.Expirations = s.evictions.Load(), s.expirations.Load()
	n.Creations, n.Waits, n.Takeovers = s.creations.Load(), s.waits.Load(), s.takeovers.Load()
	return n
}

// Stats returns the Stats of the cache. All has what the other handles had counted about a
// second ago; of a process that was killed it may lack the last second. It is hints like the
// sketch, in whose file it lies, and begins at 0 with a new one. The gauges are 0 after the
// store was closed.
func (c *Cache) Stats() Stats {
	st := c.store.Stats()
	s := Stats{
		Counts:    c.publish(),
		LiveBytes: st.LiveBytes,
		FileBytes: st.FileBytes,
		Bound:     c.room.bytes.Load(),
		Target:    c.target(),
	}
	_ = c.store.View(func(sn *shm.Snapshot) error {
		m := sn.Map(c.region)
		s.Items, s.DataBytes = int64(m.Len()), m.Bytes()
		return nil
	})
	if m := c.sketch.mem; m.Valid() {
		var sums [counted]uint64
		for i := range sums {
			sums[i] = m.Load(offSums + 8*uint64(i))
		}
		s.All = countsOf(sums)
	} else {
		s.All = s.Counts
	}
	return s
}

// publish adds what the handle has counted since the last call to the sums of all handles,
// and returns the counts of the handle.
func (c *Cache) publish() Counts {
	c.stats.mu.Lock()
	defer c.stats.mu.Unlock()
	n := c.counts()
	if m := c.sketch.mem; m.Valid() {
		d := n.Sub(c.stats.published)
		for i, add := range d.words() {
			if add != 0 {
				m.Add(offSums+8*uint64(i), add)
			}
		}
		c.stats.published = n
	}
	return n
}
