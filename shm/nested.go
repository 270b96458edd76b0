package shm

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/seed-869cc763/shmkv/alloc/region"
)

// functions is the goroutines that are in a function of Update or Compute of one
// handle. A commit of such a goroutine, by other means than its transaction, would
// overtake the transaction each time it runs. A goroutine is in the part that its number
// chooses, so that two of them rarely wait for each other.
type functions [32]struct {
	count atomic.Int32 // of in
	mu    sync.Mutex
	in    []uintptr
	_     [64]byte
}

// partOf returns the index of the part in which a goroutine is.
func (f *functions) partOf(goroutine uintptr) uint64 {
	return uint64(goroutine) * 0x9e3779b97f4a7c15 >> 59
}

// enter notes that the goroutine, which is not running one, is about to run such a
// function.
func (f *functions) enter() {
	g := region.Goroutine()
	p := &f[f.partOf(g)]
	p.mu.Lock()
	defer p.mu.Unlock()
	p.in = append(p.in, g)
	p.count.Add(1)
}

func (f *functions) leave() {
	g := region.Goroutine()
	p := &f[f.partOf(g)]
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.Index(p.in, g)
	p.in = slices.Delete(p.in, i, i+1)
	p.count.Add(-1)
}

// running reports whether the calling goroutine is in such a function.
func (f *functions) running() bool {
	g := region.Goroutine()
	p := &f[f.partOf(g)]
	if p.count.Load() == 0 {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Contains(p.in, g)
}
