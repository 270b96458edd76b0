package hamt

import (
	"errors"
	"math/bits"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/alloc/region"
)

const (
	seed0 = 0x0706050403020100
	seed1 = 0x0f0e0d0c0b0a0908
)

func sip(key []byte) uint64 { return Hash(seed0, seed1, key) }

// errFull is what the heap's Alloc returns on request.
var errFull = errors.New("heap is full")

// heap is an Allocator over a block of the Go heap. It tracks the state of every
// block, fails the test when hamt breaks a rule of Allocator, and poisons blocks that
// nobody may read any more.
type heap struct {
	t   testing.TB
	mem region.Mem

	top   uint64
	free  [][]uint64       // by block size in words: offsets, last in first out
	live  map[uint64]*cell // published, and the transaction's own
	log   []uint64         // blocks allocated in this transaction
	waits []cell           // retired by this transaction
	gone  []cell           // retired by earlier transactions, maybe visible to snapshots

	overtaken   bool // the transaction is built on an old trie and will be rebased
	keepRetired bool // never reuse retired blocks, for tests with snapshots
	careless    bool // do not track the states of blocks, for benchmarks
	failAt      int  // the Alloc that fails, counting from 1; 0 for none
	allocs      int
}

type cell struct {
	off, size uint64
	mine      bool
	age       uint64
	stale     bool // another transaction had retired the block before
}

const (
	heapStart = 64
	markBit   = 1 << 63
	poison    = 0xdeaddeaddeaddead
)

func newHeap(t testing.TB, size int) *heap {
	return &heap{
		t:    t,
		mem:  region.FromWords(make([]uint64, size/8)),
		top:  heapStart,
		free: make([][]uint64, 1<<17),
		live: map[uint64]*cell{},
	}
}

// classSize rounds up as package alloc does: multiples of 8 up to 128, 8 steps
// a doubling up to 32768, multiples of 4096 above.
func classSize(size uint64) uint64 {
	step := uint64(8)
	switch {
	case size > 32768:
		step = 4096
	case size > 128:
		step = 1 << (bits.Len64(size-1) - 4)
	}
	return max(16, (size+step-1)&^(step-1))
}

func TestClassSizes(t *testing.T) {
	for _, c := range [][2]uint64{{1, 16}, {17, 24}, {128, 128}, {129, 144}, {256, 256}, {257, 288}, {512, 512},
		{513, 576}, {1024, 1024}, {1025, 1152}, {32768, 32768}, {32769, 36864}} {
		require.Equal(t, c[1], classSize(c[0]), "%d", c[0])
	}
}

func (h *heap) BlockSize(size uint64) uint64 { return classSize(size) }
func (h *heap) LogLen() uint64               { return uint64(len(h.log)) }

func (h *heap) Alloc(size uint64) (uint64, error) {
	if h.allocs++; h.allocs == h.failAt {
		return 0, errFull
	}
	class := classSize(size)
	var off uint64
	if f := h.free[class/8]; len(f) > 0 {
		off, h.free[class/8] = f[len(f)-1], f[:len(f)-1]
	} else {
		off = h.top
		if off+class > h.mem.Size() {
			h.t.Fatalf("the test's heap of %d bytes is too small", h.mem.Size())
		}
		h.top += class
	}
	age := uint64(len(h.log))
	h.log = append(h.log, off)
	h.mem.SetWord(off, markBit|age)
	if !h.careless {
		for o := off + 8; o < off+class; o += 8 {
			h.mem.SetWord(o, poison)
		}
		h.live[off] = &cell{off: off, size: class, mine: true, age: age}
	}
	return off, nil
}

func (h *heap) Mine(off, size uint64) bool {
	c := h.live[off]
	return h.marked(off) && (c == nil || c.size == classSize(size))
}

// marked reports whether a block carries the mark of this transaction.
func (h *heap) marked(off uint64) bool {
	mine := h.mem.Word(off)&markBit != 0
	if !h.careless && !(h.overtaken && h.live[off] == nil) {
		h.check(off, "asked for").equalMine(h, mine)
	}
	return mine
}

func (c *cell) equalMine(h *heap, mine bool) {
	if c.mine != mine {
		h.t.Fatalf("the mark of %#x was overwritten", c.off)
	}
}

func (h *heap) check(off uint64, what string) *cell {
	c := h.live[off]
	if c == nil {
		h.t.Fatalf("block %#x is %s but not live", off, what)
	}
	return c
}

func (h *heap) Age(off uint64) uint64 {
	if !h.marked(off) {
		h.t.Fatalf("age of %#x, which is not of this transaction", off)
	}
	return h.mem.Word(off) &^ markBit
}

func (h *heap) Discard(off, size uint64) {
	class := classSize(size)
	if !h.careless {
		if c := h.check(off, "discarded"); !c.mine || c.size != class {
			h.t.Fatalf("discarded %#x as %d bytes; it is %+v", off, size, *c)
		}
		delete(h.live, off)
		h.poison(off, class)
	}
	h.free[class/8] = append(h.free[class/8], off)
}

func (h *heap) Retire(off, size uint64) {
	class := classSize(size)
	if h.careless {
		h.free[class/8] = append(h.free[class/8], off)
		return
	}
	if h.overtaken && h.live[off] == nil {
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

func (h *heap) Unretire(off uint64) {
	i := slices.IndexFunc(h.waits, func(c cell) bool { return c.off == off })
	if i < 0 {
		h.t.Fatalf("block %#x is taken back but was not retired", off)
	}
	if c := h.waits[i]; !c.stale {
		h.live[off] = &c
	}
	h.waits = slices.Delete(h.waits, i, i+1)
}

func (h *heap) Rewind(n uint64) {
	for i := uint64(len(h.log)); i > n; i-- {
		if off := h.log[i-1]; h.live[off] != nil && h.live[off].mine {
			h.Discard(off, h.live[off].size)
		}
	}
	h.log = h.log[:n]
}

func (h *heap) poison(off, class uint64) {
	for o := off; o < off+class; o += 8 {
		h.mem.SetWord(o, poison)
	}
}

// commit publishes the transaction's blocks as version.
func (h *heap) commit(version uint64) {
	for _, off := range h.log {
		if h.careless {
			h.mem.SetWord(off, version)
		} else if c := h.live[off]; c != nil && c.mine {
			c.mine = false
			h.mem.SetWord(off, version)
		}
	}
	for _, c := range h.waits {
		if c.stale {
			h.t.Fatalf("block %#x is retired a second time", c.off)
		}
	}
	h.gone = append(h.gone, h.waits...)
	h.waits = h.waits[:0]
	h.log = h.log[:0]
	if !h.keepRetired {
		h.reclaim()
	}
}

// rollback undoes the transaction, except for one block of it.
func (h *heap) rollback(keep uint64) {
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

// reclaim poisons and frees what committed transactions have retired.
func (h *heap) reclaim() {
	for _, c := range h.gone {
		h.poison(c.off, c.size)
		h.free[c.size/8] = append(h.free[c.size/8], c.off)
	}
	h.gone = h.gone[:0]
}

// reader's end is directly after the last block, so that each kind of node is the
// last one at times.
func (h *heap) reader() Reader { return NewReader(h.mem, max(h.top, maxBranch)) }

// ledger fails the test unless the trie reaches exactly the live blocks, except those
// that are pending in t.
func (h *heap) ledger(tx *Tx, reached map[uint64]uint64) {
	h.t.Helper()
	for _, b := range tx.pending {
		reached[b.Off] = classSize(b.Size)
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
