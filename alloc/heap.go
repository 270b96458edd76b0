package alloc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/bits"
	"slices"
	"sync"

	"github.com/seed-869cc763/shmkv/alloc/layout"
	"github.com/seed-869cc763/shmkv/alloc/region"
)

// Heap is a store on the Go heap, for tests: several handles of one process
// attach to it as several processes attach to files, and a handle can be made
// to die as a process dies.
type Heap struct {
	data, slots []uint64

	mu     sync.Mutex
	locked map[int]*heapLocker // by proc
	backed []bool              // by page
	pages  int                 // of which backed
	length uint64              // of the file that data is, in bytes
	limit  int                 // pages that may be backed, 0 = any number
	eager  bool
	bootAs layout.BootWord
	disk   *heapDisk // nil: nothing lasts
	trace  Tracer
	prove  Tracer // nil: a recovery does not try the newest version
	newer  Newer  // nil: handles write no journal

	journal *heapJournal // nil: there is none
}

// NewHeap creates an empty store of the given size. The seed is fixed, so that
// runs can be repeated.
func NewHeap(maxSize uint64) (*Heap, error) {
	boot, err := bootOf("") // so that a copy in a file is of this boot
	if err != nil {
		return nil, err
	}
	h := &Heap{
		data:   make([]uint64, maxSize/8),
		slots:  make([]uint64, layout.ProcsSize/8),
		locked: map[int]*heapLocker{},
		backed: make([]bool, maxSize>>layout.PageShift),
		bootAs: boot,
	}
	id := layout.StoreID{0x6d656d6f7279, 1}
	layout.FormatProcs(region.FromWords(h.slots), id)
	if err := (&heapBacking{heap: h}).back(0, layout.FirstEnd); err != nil {
		return nil, err
	}
	layout.Format(region.FromWords(h.data), layout.Superblock{MaxSize: maxSize, HashID: layout.HashSip13, Seed: [2]uint64{7, 11}, ID: id}, 1)
	return h, nil
}

// Clone copies the store as it stands; no handle is attached to the copy, so
// all that had been attached are dead to it.
func (h *Heap) Clone() *Heap {
	h.mu.Lock()
	defer h.mu.Unlock()
	data, fresh := takeWords(len(h.data))
	for p, backed := range h.backed {
		from := p * pageWords
		if page := data[from : from+pageWords]; backed {
			copy(page, h.data[from:])
		} else if !fresh {
			clear(page)
		}
	}
	c := h.with(data)
	c.disk, c.journal = h.disk.clone(), h.journal.clone()
	return c
}

// with returns a heap like h with these data, without a disk and a journal.
func (h *Heap) with(data []uint64) *Heap {
	return &Heap{
		data:   data,
		slots:  copyWords(h.slots),
		locked: map[int]*heapLocker{},
		backed: slices.Clone(h.backed),
		pages:  h.pages,
		length: h.length,
		limit:  h.limit,
		eager:  h.eager,
		bootAs: h.bootAs,
		trace:  h.trace,
		prove:  h.prove,
		newer:  h.newer,
	}
}

// SetTrace sets what handles that attach later recover the store with.
func (h *Heap) SetTrace(trace Tracer) { h.trace = trace }

// SetProve sets what they try the newest version with.
func (h *Heap) SetProve(prove Tracer) { h.prove = prove }

// Backed reports whether there is memory behind the page at off.
func (h *Heap) Backed(off uint64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.backed[off>>layout.PageShift]
}

// ProcsBit marks the offsets of the file procs for a hook, and with OwnBit those of
// the words by which the goroutines of one handle share its pins.
const (
	ProcsBit = 1 << 63
	OwnBit   = 1 << 62
)

// SetLimit bounds the bytes of memory behind the store, as a file system's size
// does; 0 lifts the bound.
func (h *Heap) SetLimit(bytes uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.limit = int(bytes >> layout.PageShift)
}

// SetEager makes handles that attach later reclaim after every commit, and
// without a lag: what can go wrong then does so soon.
func (h *Heap) SetEager() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.eager = true
}

// Attached returns how many handles hold a proc.
func (h *Heap) Attached() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.locked)
}

// BackedBytes returns how much memory is behind the store.
func (h *Heap) BackedBytes() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return uint64(h.pages) << layout.PageShift
}

// Attach opens a handle. The hook, which may be nil, is called at every access
// that the handle makes; it needs the build tag shmhook.
func (h *Heap) Attach(hook func(region.Op, uint64)) (*Arena, func(), error) {
	b := &heapBacking{heap: h}
	a := &Arena{mem: region.FromWords(h.data), ro: region.FromWords(h.data), shared: region.FromWords(h.slots), b: b, newer: h.newer, trace: h.trace, prove: h.prove}
	b.views = []*region.Mem{&a.mem, &a.shared, &a.ro}
	if hook != nil {
		a.SetHook(hook)
		b.hook = hook
	}
	attached := false
	defer func() {
		if !attached { // the hook may also have let it die
			b.die()
		}
	}()
	if err := a.attach(); err != nil {
		return nil, nil, err
	}
	a.pace.holes, a.pace.settle, a.pace.slack = 0, 0, 0
	if h.eager {
		a.pace.commits, a.pace.lag = 1, 0
	}
	attached = true
	return a, b.die, nil
}

// AttachReadOnly opens a handle that has write permission on nothing.
func (h *Heap) AttachReadOnly(hook func(region.Op, uint64)) (*Arena, error) {
	b := &heapBacking{heap: h}
	a := &Arena{ro: region.FromWords(h.data), b: b}
	b.views = []*region.Mem{&a.ro}
	a.ro.SetHook(hook)
	return a, a.attach()
}

// SetHook makes every later access of the handle to shared memory call hook
// first, which needs the build tag shmhook.
func (a *Arena) SetHook(hook func(region.Op, uint64)) {
	a.mem.SetHook(hook)
	a.ro.SetHook(hook)
	a.shared.SetHook(func(op region.Op, off uint64) { hook(op, off|ProcsBit) })
	a.pinTable().users.SetHook(func(op region.Op, off uint64) { hook(op, off|ProcsBit|OwnBit) })
}

type heapBacking struct {
	heap    *Heap
	hook    func(region.Op, uint64)
	views   []*region.Mem // of the handle
	mu      sync.Mutex
	lockers []*heapLocker
}

func (b *heapBacking) call(off uint64) {
	if b.hook != nil {
		b.hook(region.OpCall, off|ProcsBit)
	}
}

var errNoSpace = fmt.Errorf("%w: no space left", ErrFull)

func (b *heapBacking) back(off, n uint64) error {
	b.call(off)
	h := b.heap
	h.mu.Lock()
	defer h.mu.Unlock()
	first, last := off>>layout.PageShift, (off+n-1)>>layout.PageShift
	for p := first; p <= last; p++ {
		if h.backed[p] {
			continue
		}
		if h.limit > 0 && h.pages >= h.limit {
			return errNoSpace
		}
		h.backed[p] = true
		h.pages++
	}
	h.length = max(h.length, off+n)
	return nil
}

func (b *heapBacking) punch(off, n uint64) error {
	b.call(off)
	h := b.heap
	h.mu.Lock()
	defer h.mu.Unlock()
	for p := off >> layout.PageShift; p < (off+n)>>layout.PageShift; p++ {
		if h.backed[p] {
			h.backed[p] = false
			h.pages--
		}
	}
	m := region.FromWords(h.data)
	m.Zero(off, n)
	return nil
}

func (b *heapBacking) size() (uint64, error) {
	b.heap.mu.Lock()
	defer b.heap.mu.Unlock()
	return b.heap.length, nil
}

func (b *heapBacking) mode() fs.FileMode { return 0 }

func (b *heapBacking) allocated() (uint64, error) {
	return b.heap.BackedBytes() + layout.ProcsSize, nil
}

func (b *heapBacking) removed() (bool, error) { return false, nil }

func (b *heapBacking) stale() (bool, error) { return false, nil }

func (b *heapBacking) same(other backing) bool {
	o, ok := other.(*heapBacking)
	return ok && o.heap == b.heap
}

func (b *heapBacking) locks() (locker, error) {
	l := &heapLocker{b: b}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lockers = append(b.lockers, l)
	return l, nil
}

func (b *heapBacking) unload() {}

func (b *heapBacking) lasting() bool { return b.heap.disk != nil }

func (b *heapBacking) boot() layout.BootWord { return b.heap.bootAs }

func (b *heapBacking) home() uint64 { return 1 }

func (b *heapBacking) syncNames() error { return nil }

func (b *heapBacking) flush() error {
	err := b.heap.flush(func() { b.call(0) })
	b.call(0)
	return err
}

func (b *heapBacking) truncate(size uint64) error {
	b.call(size)
	h := b.heap
	h.mu.Lock()
	defer h.mu.Unlock()
	h.setLength(size)
	return nil
}

// setLength makes the file that long.
func (h *Heap) setLength(size uint64) {
	h.length = size
	clear(h.data[size/8:])
	for p := size >> layout.PageShift; p < uint64(len(h.backed)); p++ {
		if h.backed[p] {
			h.backed[p] = false
			h.pages--
		}
	}
}

func (b *heapBacking) ranges(limit uint64) (all [][2]uint64) {
	h := b.heap
	h.mu.Lock()
	defer h.mu.Unlock()
	for p := range limit >> layout.PageShift {
		if h.backed[p] {
			all = append(all, [2]uint64{p << layout.PageShift, (p + 1) << layout.PageShift})
		}
	}
	return all
}

// close detaches the views as files does, in a build with the tag shmhook and for
// a handle with a hook. A view of the Go heap cannot be detached otherwise.
func (b *heapBacking) close() error {
	for _, v := range b.views {
		v.DetachWords()
	}
	return nil
}

// die drops the handle's locks, as the kernel does for a dead process. The
// handle must not be used any more.
func (b *heapBacking) die() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, l := range b.lockers {
		l.drop()
	}
}

type heapLocker struct{ b *heapBacking }

func (l *heapLocker) tryLock(proc int) (bool, error) {
	l.b.call(uint64(proc))
	h := l.b.heap
	h.mu.Lock()
	defer h.mu.Unlock()
	if owner := h.locked[proc]; owner != nil && owner != l {
		return false, nil
	}
	h.locked[proc] = l
	return true, nil
}

func (l *heapLocker) unlock(proc int) error {
	l.b.call(uint64(proc))
	h := l.b.heap
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.locked[proc] != l {
		return errors.New("unlocking a proc that is not locked")
	}
	delete(h.locked, proc)
	return nil
}

func (l *heapLocker) held(proc int) (bool, error) {
	l.b.call(uint64(proc))
	h := l.b.heap
	h.mu.Lock()
	defer h.mu.Unlock()
	owner := h.locked[proc]
	return owner != nil && owner != l, nil
}

func (l *heapLocker) anyLocked() (bool, error) {
	l.b.call(0)
	h := l.b.heap
	h.mu.Lock()
	defer h.mu.Unlock()
	for proc, owner := range h.locked {
		if proc < layout.MaxProcs && owner != l {
			return true, nil
		}
	}
	return false, nil
}

func (l *heapLocker) close() error {
	l.drop()
	return nil
}

func (l *heapLocker) drop() {
	h := l.b.heap
	h.mu.Lock()
	defer h.mu.Unlock()
	for e, owner := range h.locked {
		if owner == l {
			delete(h.locked, e)
		}
	}
}

// FreePages returns how many free pages have memory behind them: as they are
// counted, and as there are.
func (a *Arena) FreePages() (counted, found int64) {
	_ = a.eachPage(context.Background(), a.FileBytes(), func(_ uint64, st layout.PageState) error {
		if st.State() == layout.PageFree {
			found++
		}
		return nil
	})
	return int64(a.ro.Load(layout.OffFreePages)), found
}

// Hidden returns the pages that offer something of which no hint tells. While
// nobody writes there is none.
func (a *Arena) Hidden() (pages []uint64) {
	_ = a.eachPage(context.Background(), a.FileBytes(), func(p uint64, st layout.PageState) error {
		hints := a.ro.Load(layout.HintWord(p)) & a.ro.Load(layout.OffSegHints+uint64(bits.Len64(p>>20))*8)
		if a.offers(p, st, ^hintMask(hints)) {
			pages = append(pages, p)
		}
		return nil
	})
	return pages
}

// Mem is the store's data, past all hooks.
func (h *Heap) Mem() region.Mem { return region.FromWords(h.data) }

// ErasePins does what a process that can write procs can do: it erases the pins of
// all transactions that are under way.
func (h *Heap) ErasePins() {
	m := region.FromWords(h.slots)
	for i := range layout.MaxSlots {
		m.Store(slotPin(i)+layout.PinVersion, 0)
	}
}
