package alloc

import "sync"

// spares has the words of freed heaps, in a sync.Pool for each length. Tests that try
// thousands of deaths and schedules clone a store for each, and would spend most of their
// time on getting fresh memory from the system and clearing it.
var spares sync.Map

// takeWords returns n words. They are zero if they are fresh, and else have any contents.
func takeWords(n int) (words []uint64, fresh bool) {
	if pool, ok := spares.Load(n); ok {
		if w, ok := pool.(*sync.Pool).Get().(*[]uint64); ok {
			return *w, false
		}
	}
	return make([]uint64, n), true
}

// copyWords returns a copy of words.
func copyWords(words []uint64) []uint64 {
	w, _ := takeWords(len(words))
	copy(w, words)
	return w
}

// giveWords lets a later takeWords have the words.
func giveWords(words []uint64) {
	pool, _ := spares.LoadOrStore(len(words), new(sync.Pool))
	pool.(*sync.Pool).Put(&words)
}

// Free gives the memory of a heap to later clones. Nobody may use the heap or a handle on
// it after that. A heap that is not freed is left to the garbage collector.
func (h *Heap) Free() {
	h.mu.Lock()
	defer h.mu.Unlock()
	giveWords(h.data)
	giveWords(h.slots)
	if h.disk != nil {
		giveWords(h.disk.flushed)
	}
	h.data, h.slots, h.disk = nil, nil, nil
}
