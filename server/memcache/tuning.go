package memcache

import (
	"sync"
)

// A tuning has settings of memcached's that clients may change, and that change nothing here:
// the cache has no slabs, no LRU and no crawler. Clients find in stats settings what they set.
type tuning struct {
	mu sync.Mutex
	tuned
}

type tuned struct {
	automove                uint32
	automoveRatio           float64
	segmented               bool
	hotPercent, warmPercent uint32
	hotFactor, warmFactor   float64
	temporary               bool
	temporaryTTL            uint32 // in seconds
	crawlerSleep            uint32 // in microseconds
	crawlerMost             uint32
}

// defaultTuning has memcached's defaults.
var defaultTuning = tuned{
	automove:      1,
	automoveRatio: 0.8,
	segmented:     true,
	hotPercent:    20,
	warmPercent:   40,
	hotFactor:     0.2,
	warmFactor:    2,
	temporaryTTL:  61,
	crawlerSleep:  100,
}

func (t *tuning) set(fn func(t *tuned)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fn(&t.tuned)
}

func (t *tuning) get() tuned {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.tuned
}
