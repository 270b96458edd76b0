//go:build race

package region

import (
	"encoding/binary"
	"sync/atomic"
)

// In a race build the plain accesses are atomic word by word. See the package comment.

// Word reads a word that is private or part of a block, published or not.
func (m Mem) Word(off uint64) uint64 {
	m.touch(OpRead, off)
	return atomic.LoadUint64(m.at(off))
}

// SetWord writes a word that is private or part of an unpublished block.
func (m Mem) SetWord(off, v uint64) {
	m.touch(OpWrite, off)
	atomic.StoreUint64(m.at(off), v)
}

// Release writes a shared word after all preceding accesses.
func (m Mem) Release(off, v uint64) { m.Store(off, v) }

// Write copies p into an unpublished block.
func (m Mem) Write(off uint64, p []byte) {
	m.touch(OpWrite, off)
	var w [8]byte
	for len(p) > 0 {
		word := off &^ 7
		binary.LittleEndian.PutUint64(w[:], atomic.LoadUint64(m.at(word)))
		n := copy(w[off-word:], p)
		atomic.StoreUint64(m.at(word), binary.LittleEndian.Uint64(w[:]))
		p, off = p[n:], off+uint64(n)
	}
}

// Half reads 16 bits by which nothing is decided, while others may write them. off is even.
func (m Mem) Half(off uint64) uint16 { return uint16(m.Word(off&^7) >> (8 * (off & 7))) }

// SetHalf writes 16 bits by which nothing is decided. A write of bits of the same word at
// the same time may be lost.
func (m Mem) SetHalf(off uint64, v uint16) {
	shift := 8 * (off & 7)
	m.SetWord(off&^7, m.Word(off&^7)&^(0xffff<<shift)|uint64(v)<<shift)
}

// Copy copies n bytes from src to dst in an unpublished block. All three are multiples
// of 8. The ranges may overlap if dst is below src. The source may change meanwhile.
func (m Mem) Copy(dst, src, n uint64) {
	for i := uint64(0); i < n; i += 8 {
		m.SetWord(dst+i, m.Word(src+i))
	}
}

// AppendTo appends the n bytes at off to dst.
func (m Mem) AppendTo(dst []byte, off, n uint64) []byte {
	m.touch(OpRead, off)
	var w [8]byte
	for n > 0 {
		word := off &^ 7
		binary.LittleEndian.PutUint64(w[:], atomic.LoadUint64(m.at(word)))
		part := w[off-word:]
		part = part[:min(uint64(len(part)), n)]
		dst = append(dst, part...)
		off, n = off+uint64(len(part)), n-uint64(len(part))
	}
	return dst
}

// Equal reports whether the len(p) bytes at off equal p.
func (m Mem) Equal(off uint64, p []byte) bool {
	return string(m.AppendTo(nil, off, uint64(len(p)))) == string(p)
}

// A Handover tells the race detector that a word of shared memory orders the accesses of
// two goroutines to the Go heap. The detector does not see words of a mapping. Without
// the detector a Handover does nothing.
type Handover struct{ n atomic.Uint32 }

// Give is called before the word hands over to the other goroutine.
func (h *Handover) Give() { h.n.Add(1) }

// Take is called after the word has handed over to the caller.
func (h *Handover) Take() { h.n.Load() }
