package shm

import (
	"sync"
	"sync/atomic"

	"github.com/seed-869cc763/shmkv/alloc/region"
)

// functions is the goroutines that are in a function of Update or Modify of one
// handle. A commit of such a goroutine, by other means than its transaction, would
// overtake the transaction each time it runs.
type functions struct {
	count atomic.Int32
	mu    sync.Mutex
	in    map[uintptr]struct{}
}

// enter notes that the goroutine, which is not running one, is about to run such a
// function.
func (f *functions) enter() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.in == nil {
		f.in = map[uintptr]struct{}{}
	}
	f.in[region.Goroutine()] = struct{}{}
	f.count.Add(1)
}

func (f *functions) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.in, region.Goroutine())
	f.count.Add(-1)
}

// running reports whether the calling goroutine is in such a function.
func (f *functions) running() bool {
	if f.count.Load() == 0 {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	_, in := f.in[region.Goroutine()]
	return in
}
