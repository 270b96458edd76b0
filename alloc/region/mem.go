package region

import (
	"sync/atomic"
	"unsafe"
)

// A Mem is a view of a range of memory at a fixed address. The zero Mem has no memory.
// Offsets are in bytes, and offsets of words must be multiples of 8. Mem does not check
// offsets: the caller must know that the file has memory there. The methods take a Mem
// by value, so that a loop can keep it in registers.
type Mem struct {
	base unsafe.Pointer
	size uint64
	hooked
}

// Size returns the number of bytes in the view.
func (m Mem) Size() uint64 { return m.size }

// Valid reports whether the view has memory, that is, is not the zero Mem.
func (m Mem) Valid() bool { return m.base != nil }

func (m Mem) at(off uint64) *uint64 { return (*uint64)(m.place(off, 8)) }

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

// CAS replaces the word old by new and reports whether the word was old.
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

// Prefetch starts to load the cache line at off without waiting for it. The line must
// have memory.
func (m Mem) Prefetch(off uint64) {
	m.touch(OpRead, off)
	prefetch(m.place(off, 1))
}

// PageSize is the smallest unit, in bytes, in which a file gets and returns memory.
const PageSize = 4096

// Bytes returns the n bytes at off without copying them. The slice is valid until Unmap.
// Its contents are valid until the block that contains them is reused. A write to a slice
// of a read-only view faults.
func (m Mem) Bytes(off, n uint64) []byte {
	m.touch(OpRead, off)
	return unsafe.Slice((*byte)(m.place(off, n)), n)
}

// Zero clears n bytes at off. Both must be multiples of 8.
func (m Mem) Zero(off, n uint64) {
	for end := off + n; off < end; off += 8 {
		m.SetWord(off, 0)
	}
}

// FromBytes returns a view of b, which must begin at an address that is a multiple of 8.
func FromBytes(b []byte) Mem {
	return Mem{base: unsafe.Pointer(unsafe.SliceData(b)), size: uint64(len(b))}
}

// FromWords returns a view of w.
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

// LoadFence orders the plain loads before it with the atomic loads after it (rule R3).
// On processors that reorder loads it makes an atomic add on a local word, which acts as
// a barrier. On amd64, which keeps loads in order, it does nothing.
func (m Mem) LoadFence() {
	m.touch(OpFence, 0)
	if weakOrder {
		var private uint64
		atomic.AddUint64(&private, 1)
	}
}
