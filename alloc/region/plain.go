//go:build !race

package region

import (
	"sync/atomic"
	"unsafe"
)

// Word reads a word that is private or part of a block, published or not.
func (m Mem) Word(off uint64) uint64 {
	m.touch(OpRead, off)
	return *m.at(off)
}

// SetWord writes a word that is private or part of an unpublished block.
func (m Mem) SetWord(off, v uint64) {
	m.touch(OpWrite, off)
	*m.at(off) = v
}

// Release writes a shared word after all preceding accesses. Unlike Store it does not
// wait until other processors see the word, which takes 5 ns on amd64. It is for words
// that others need not see at once.
func (m Mem) Release(off, v uint64) {
	m.touch(OpStore, off)
	if weakOrder {
		atomic.StoreUint64(m.at(off), v)
	} else {
		*m.at(off) = v
	}
}

// Write copies p into an unpublished block.
func (m Mem) Write(off uint64, p []byte) {
	m.touch(OpWrite, off)
	copy(unsafe.Slice((*byte)(m.place(off, uint64(len(p)))), len(p)), p)
}

// Half reads 16 bits by which nothing is decided, while others may write them. off is even.
func (m Mem) Half(off uint64) uint16 {
	m.touch(OpRead, off)
	return *(*uint16)(m.place(off, 2))
}

// SetHalf writes 16 bits by which nothing is decided. A write of the same bits at the same
// time may be lost.
func (m Mem) SetHalf(off uint64, v uint16) {
	m.touch(OpWrite, off)
	*(*uint16)(m.place(off, 2)) = v
}

// Copy copies n bytes from src to dst in an unpublished block. All three are multiples
// of 8. The ranges may overlap if dst is below src. The source may change meanwhile.
func (m Mem) Copy(dst, src, n uint64) { m.Write(dst, m.Bytes(src, n)) }

// AppendTo appends the n bytes at off to dst.
func (m Mem) AppendTo(dst []byte, off, n uint64) []byte {
	return append(dst, m.Bytes(off, n)...)
}

// Equal reports whether the len(p) bytes at off equal p.
func (m Mem) Equal(off uint64, p []byte) bool {
	return string(m.Bytes(off, uint64(len(p)))) == string(p)
}

// A Handover tells the race detector that a word of shared memory orders the accesses of
// two goroutines to the Go heap. The detector does not see words of a mapping. Without
// the detector a Handover does nothing.
type Handover struct{}

// Give is called before the word hands over to the other goroutine.
func (*Handover) Give() {}

// Take is called after the word has handed over to the caller.
func (*Handover) Take() {}
