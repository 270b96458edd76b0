package region

import (
	"sync/atomic"
	"unsafe"
)

// Mem is a view of size bytes of memory at a fixed place. The zero Mem has no
// memory. Offsets are in bytes; word offsets must be multiples of 8. Mem does
// not check offsets: its callers have checked them against what they know to
// be backed, which is why only packages alloc and hamt use it. Accesses take it by
// value, so that a loop has it in registers.
type Mem struct {
	base unsafe.Pointer
	size uint64
	hooked
}

// Size returns the number of bytes in the view.
func (m Mem) Size() uint64 { return m.size }

// Valid reports whether the view has memory behind it.
func (m Mem) Valid() bool { return m.base != nil }

func (m Mem) at(off uint64) *uint64 { return (*uint64)(m.place(m.base, off)) }

// Load reads a shared word.
func (m Mem) Load(off uint64) uint64 {
	m.touch(OpLoad, off)
	return atomic.LoadUint64(m.at(off))
}

// Store writes a shared word.
func (m Mem) Store(off, v uint64) {
	m.touch(OpStore, off)
	atomic.StoreUint64(m.at(off), v)
}

// CAS replaces old by new and reports whether it did.
func (m Mem) CAS(off, old, new uint64) bool {
	m.touch(OpCAS, off)
	return atomic.CompareAndSwapUint64(m.at(off), old, new)
}

// Or sets bits and returns the old word.
func (m Mem) Or(off, bits uint64) uint64 {
	m.touch(OpOr, off)
	return atomic.OrUint64(m.at(off), bits)
}

// And keeps only the bits of mask and returns the old word.
func (m Mem) And(off, mask uint64) uint64 {
	m.touch(OpAnd, off)
	return atomic.AndUint64(m.at(off), mask)
}

// Add adds delta, which may be negative in two's complement, and returns the
// new word.
func (m Mem) Add(off, delta uint64) uint64 {
	m.touch(OpAdd, off)
	return atomic.AddUint64(m.at(off), delta)
}

// Max raises a word to at least v.
func (m Mem) Max(off, v uint64) {
	for {
		old := m.Load(off)
		if old >= v || m.CAS(off, old, v) {
			return
		}
	}
}

// Prefetch asks for the cache line at off without waiting for it. There must be
// memory behind it. A load whose result nobody uses does that; it is atomic since
// the compiler drops such a load otherwise.
func (m Mem) Prefetch(off uint64) {
	m.touch(OpRead, off)
	atomic.LoadUint64(m.at(off))
}

// PageSize is the least unit in which memory comes and goes.
const PageSize = 4096

// Bytes returns the n bytes at off, without copying. The slice is as long
// lived as the mapping, its contents as the block they are part of; through a
// read-only view a write to it faults in the writer's process.
func (m Mem) Bytes(off, n uint64) []byte {
	m.touch(OpRead, off)
	return unsafe.Slice((*byte)(m.place(m.base, off)), n)
}

// Zero clears n bytes at off; both are multiples of 8.
func (m Mem) Zero(off, n uint64) {
	for end := off + n; off < end; off += 8 {
		m.SetWord(off, 0)
	}
}

// FromBytes returns a view of b, which must start at an address that is a
// multiple of 8. The caller keeps b reachable.
func FromBytes(b []byte) Mem {
	return Mem{base: unsafe.Pointer(unsafe.SliceData(b)), size: uint64(len(b))}
}

// FromWords returns a view of a block of the Go heap.
func FromWords(w []uint64) Mem {
	return Mem{base: unsafe.Pointer(unsafe.SliceData(w)), size: uint64(len(w)) * 8}
}

// Overlap reports whether a and b share memory.
func Overlap(a, b []byte) bool {
	if len(a) == 0 || len(b) == 0 {
		return false
	}
	p, q := uintptr(unsafe.Pointer(unsafe.SliceData(a))), uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	return p < q+uintptr(len(b)) && q < p+uintptr(len(a))
}

// LoadFence orders the plain loads before it with the atomic loads after it,
// on processors that may reorder them: an atomic add on a private word acts as
// a barrier there (rule R3). On amd64 loads keep their order.
func (m Mem) LoadFence() {
	m.touch(OpFence, 0)
	if weakOrder {
		var private uint64
		atomic.AddUint64(&private, 1)
	}
}
