// Package nodetest has the allocator that the tests of trees run on.
package nodetest

import (
	"errors"
	"math/bits"
	"slices"
	"sync"
	"testing"

	"github.com/seed-869cc763/shmkv/alloc/region"
	"github.com/seed-869cc763/shmkv/node"
)

// ErrFull is what the heap's Alloc returns on request.
var ErrFull = errors.New("heap is full")

// Heap is a node.Allocator over a block of the Go heap. It tracks the state of every
// block, fails the test when a tree breaks a rule of Allocator, and poisons blocks that
// nobody may read any more.
type Heap struct {
	t   testing.TB
	Mem region.Mem

	Top   uint64              // the offset behind the last block
	free  map[uint64][]uint64 // by block size in words: offsets, last in first out
	live  map[uint64]*cell    // published, and the transaction's own
	Log   []uint64            // blocks allocated in this transaction
	waits []cell              // retired by this transaction
	gone  []cell              // retired by earlier transactions, maybe visible to snapshots

	Overtaken   bool // the transaction is built on an old tree and will be rebased
	KeepRetired bool // never reuse retired blocks, for tests with snapshots
	Careless    bool // do not track the states of blocks, for benchmarks
	FailAt      int  // the Alloc that fails, counting from 1; 0 for none
	Allocs      int  // calls of Alloc
}

type cell struct {
	off, size uint64
	mine      bool
	age       uint64
	stale     bool // another transaction had retired the block before
}

// Start is the offset of the first block.
const Start = 64

const (
	markBit = 1 << 63
	poison  = 0xdeaddeaddeaddead
)

// spares has the memory of heaps of tests that have ended, in a sync.Pool for each size. It
// is zero. Clearing all of a heap for each test takes longer than most of the tests, which
// use a small part of it.
var spares sync.Map

// New returns a Heap of size bytes. It is lost when the test ends.
func New(t testing.TB, size int) *Heap {
	spare, _ := spares.LoadOrStore(size, &sync.Pool{New: func() any { w := make([]uint64, size/8); return &w }})
	pool := spare.(*sync.Pool)
	words := pool.Get().(*[]uint64)
	h := &Heap{
		t:    t,
		Mem:  region.FromWords(*words),
		Top:  Start,
		free: map[uint64][]uint64{},
		live: map[uint64]*cell{},
	}
	t.Cleanup(func() {
		clear((*words)[:h.Top/8])
		pool.Put(words)
	})
	return h
}

// ClassSize rounds up as package alloc does: multiples of 8 up to 128, 8 steps
// a doubling up to 32768, multiples of 4096 above.
func ClassSize(size uint64) uint64 {
	step := uint64(8)
	switch {
	case size > 32768:
		step = 4096
	case size > 128:
		step = 1 << (bits.Len64(size-1) - 4)
	}
	return max(16, (size+step-1)&^(step-1))
}

func (h *Heap) BlockSize(size uint64) uint64 { return ClassSize(size) }
func (h *Heap) LogLen() uint64               { return uint64(len(h.Log)) }

func (h *Heap) Alloc(size uint64) (uint64, error) {
	if h.Allocs++; h.Allocs == h.FailAt {
		return 0, ErrFull
	}
	class := ClassSize(size)
	var off uint64
	if f := h.free[class/8]; len(f) > 0 {
		off, h.free[class/8] = f[len(f)-1], f[:len(f)-1]
	} else {
		off = h.Top
		if off+class > h.Mem.Size() {
			h.t.Fatalf("the test's heap of %d bytes is too small", h.Mem.Size())
		}
		h.Top += class
	}
	age := uint64(len(h.Log))
	h.Log = append(h.Log, off)
	h.Mem.SetWord(off, markBit|age)
	if !h.Careless {
		for o := off + 8; o < off+class; o += 8 {
			h.Mem.SetWord(o, poison)
		}
		h.live[off] = &cell{off: off, size: class, mine: true, age: age}
	}
	return off, nil
}

func (h *Heap) Mine(off, size uint64) bool {
	c := h.live[off]
	return h.marked(off) && (c == nil || c.size == ClassSize(size))
}

// marked reports whether a block carries the mark of this transaction.
func (h *Heap) marked(off uint64) bool {
	mine := h.Mem.Word(off)&markBit != 0
	if !h.Careless && !(h.Overtaken && h.live[off] == nil) {
		h.check(off, "asked for").equalMine(h, mine)
	}
	return mine
}

func (c *cell) equalMine(h *Heap, mine bool) {
	if c.mine != mine {
		h.t.Fatalf("the mark of %#x was overwritten", c.off)
	}
}

func (h *Heap) check(off uint64, what string) *cell {
	c := h.live[off]
	if c == nil {
		h.t.Fatalf("block %#x is %s but not live", off, what)
	}
	return c
}

func (h *Heap) Age(off uint64) uint64 {
	if !h.marked(off) {
		h.t.Fatalf("age of %#x, which is not of this transaction", off)
	}
	return h.Mem.Word(off) &^ markBit
}

func (h *Heap) Discard(off, size uint64) {
	class := ClassSize(size)
	if !h.Careless {
		if c := h.check(off, "discarded"); !c.mine || c.size != class {
			h.t.Fatalf("discarded %#x as %d bytes; it is %+v", off, size, *c)
		}
		delete(h.live, off)
		h.poison(off, class)
	}
	h.free[class/8] = append(h.free[class/8], off)
}

func (h *Heap) Retire(off, size uint64) {
	class := ClassSize(size)
	if h.Careless {
		h.free[class/8] = append(h.free[class/8], off)
		return
	}
	if h.Overtaken && h.live[off] == nil {
		h.waits = append(h.waits, cell{off: off, size: class, stale: true})
		return
	}
	c := h.check(off, "retired")
	if c.mine || c.size != class {
		h.t.Fatalf("retired %#x as %d bytes; it is %+v", off, size, *c)
	}
	delete(h.live, off)
	h.waits = append(h.waits, *c)
}

func (h *Heap) Unretire(off uint64) {
	i := slices.IndexFunc(h.waits, func(c cell) bool { return c.off == off })
	if i < 0 {
		h.t.Fatalf("block %#x is taken back but was not retired", off)
	}
	if c := h.waits[i]; !c.stale {
		h.live[off] = &c
	}
	h.waits = slices.Delete(h.waits, i, i+1)
}

func (h *Heap) Rewind(n uint64) {
	for i := uint64(len(h.Log)); i > n; i-- {
		if off := h.Log[i-1]; h.live[off] != nil && h.live[off].mine {
			h.Discard(off, h.live[off].size)
		}
	}
	h.Log = h.Log[:n]
}

func (h *Heap) poison(off, class uint64) {
	for o := off; o < off+class; o += 8 {
		h.Mem.SetWord(o, poison)
	}
}

// Commit publishes the transaction's blocks as version.
func (h *Heap) Commit(version uint64) {
	for _, off := range h.Log {
		if h.Careless {
			h.Mem.SetWord(off, version)
		} else if c := h.live[off]; c != nil && c.mine {
			c.mine = false
			h.Mem.SetWord(off, version)
		}
	}
	for _, c := range h.waits {
		if c.stale {
			h.t.Fatalf("block %#x is retired a second time", c.off)
		}
	}
	h.gone = append(h.gone, h.waits...)
	h.waits = h.waits[:0]
	h.Log = h.Log[:0]
	if !h.KeepRetired {
		h.Reclaim()
	}
}

// Publish makes the block at off one of an earlier transaction.
func (h *Heap) Publish(off uint64) { h.live[off].mine = false }

// LiveBlocks returns the number of blocks that are published, or the transaction's own.
func (h *Heap) LiveBlocks() int { return len(h.live) }

// Rollback undoes the transaction, except for one block of it.
func (h *Heap) Rollback(keep uint64) {
	for off, c := range h.live {
		if c.mine && off != keep {
			h.Discard(off, c.size)
		}
	}
	for _, c := range h.waits {
		if !c.stale {
			h.live[c.off] = &c
		}
	}
	h.waits = h.waits[:0]
}

// Reclaim poisons and frees what committed transactions have retired.
func (h *Heap) Reclaim() {
	for _, c := range h.gone {
		h.poison(c.off, c.size)
		h.free[c.size/8] = append(h.free[c.size/8], c.off)
	}
	h.gone = h.gone[:0]
}

// Live reports whether the block at off is published, or the transaction's own.
func (h *Heap) Live(off uint64) bool { return h.live[off] != nil }

// IsWaiting reports whether the transaction has retired the block at off.
func (h *Heap) IsWaiting(off uint64) bool {
	return slices.ContainsFunc(h.waits, func(c cell) bool { return c.off == off })
}

// Waits returns how many blocks the transaction has retired.
func (h *Heap) Waits() int { return len(h.waits) }

// Ledger fails the test unless a tree reaches exactly the live blocks, except those that
// are pending in the transaction. reached has the size of each block by its offset.
func (h *Heap) Ledger(pending []node.Block, reached map[uint64]uint64) {
	h.t.Helper()
	for _, b := range pending {
		reached[b.Off] = ClassSize(b.Size)
	}
	for off, size := range reached {
		if c := h.live[off]; c == nil || c.size != size {
			h.t.Fatalf("block %#x of %d bytes is in use but not live", off, size)
		}
	}
	for off, c := range h.live {
		if _, ok := reached[off]; !ok {
			h.t.Fatalf("block %#x of %d bytes leaked", off, c.size)
		}
	}
}
