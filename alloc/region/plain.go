//go:build !race

package region

import (
	"sync/atomic"
	"unsafe"
)

// Word reads a word that is published, unpublished or private.
func (m Mem) Word(off uint64) uint64 {
	m.touch(OpRead, off)
	return *m.at(off)
}

// SetWord writes a word that is unpublished or private.
func (m Mem) SetWord(off, v uint64) {
	m.touch(OpWrite, off)
	*m.at(off) = v
}

// Release writes a shared word after all that precedes it. Unlike a Store it does
// not wait until others can see it, which on amd64 takes 5 ns: for words of which
// nobody needs to know at once.
func (m Mem) Release(off, v uint64) {
	m.touch(OpStore, off)
	if weakOrder {
		atomic.StoreUint64(m.at(off), v)
	} else {
		*m.at(off) = v
	}
}

// Write copies p into unpublished memory.
func (m Mem) Write(off uint64, p []byte) {
	m.touch(OpWrite, off)
	copy(unsafe.Slice((*byte)(m.place(m.base, off)), len(p)), p)
}

// Copy copies n bytes, of whole words, to unpublished memory, and downwards also within
// what it copies. What it copies from may change meanwhile.
func (m Mem) Copy(dst, src, n uint64) { m.Write(dst, m.Bytes(src, n)) }

// AppendTo appends the n bytes at off to dst.
func (m Mem) AppendTo(dst []byte, off, n uint64) []byte {
	return append(dst, m.Bytes(off, n)...)
}

// Equal reports whether the bytes at off are those of p.
func (m Mem) Equal(off uint64, p []byte) bool {
	return string(m.Bytes(off, uint64(len(p)))) == string(p)
}

// A Handover orders what one goroutine does to memory of the Go heap before what another
// does, which a word of shared memory lets it do. That word does so already, but the race
// detector does not see it in a mapping.
type Handover struct{}

// Give is called before the word says that another may go on.
func (*Handover) Give() {}

// Take is called when the word has said that the caller may.
func (*Handover) Take() {}
