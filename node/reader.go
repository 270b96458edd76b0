package node

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/seed-869cc763/shmkv/alloc/region"
)

// A Reader reads nodes in the first bytes of a region. It is a small value,
// made anew for each use, because the region's end moves as the store grows.
type Reader struct {
	Mem region.Mem
	End uint64 // all of [0, End) can be touched; a multiple of 8
}

// NewReader returns a Reader of the bytes of mem below end. The caller vouches
// that they are backed. An end that leaves no room for a leaf, or that is beyond
// mem, is a mistake of the caller's, not of whoever wrote the region, and panics.
func NewReader(mem region.Mem, end uint64) Reader {
	if end < HeaderSize || end > mem.Size() {
		panic("node: a reader's end is outside its region")
	}
	return Reader{mem, end &^ (WordSize - 1)}
}

// Last returns the last offset where a node can start.
func (r Reader) Last() uint64 { return r.End - HeaderSize }

// Leaf reads the leaf at ref. It returns an error that wraps region.ErrCorrupt if
// there is none.
func (r Reader) Leaf(ref Ref) (Leaf, error) {
	off := ref.Off()
	if off > r.Last() {
		return Leaf{}, r.Outside(ref)
	}
	return r.LeafHead(ref, r.Mem.Word(off+HeadOff))
}

// LeafHead is Leaf for a caller that has read the head word.
func (r Reader) LeafHead(ref Ref, head uint64) (Leaf, error) {
	off := ref.Off()
	l := Leaf{Off: off, KeyLen: uint32(head >> KeyLenShift & keyLenMask), ValueLen: uint32(head)}
	switch {
	case ref.Kind() != KindLeaf:
		return Leaf{}, Corrupt(off, "reference", "a node", "%v", ref)
	case head>>FlagsShift != 0:
		return Leaf{}, Corrupt(off, "leaf", "no flags", "flags %#x", head>>FlagsShift)
	case l.KeyLen > MaxKeyLen:
		return Leaf{}, Corrupt(off, "leaf", "a key of at most 65536 bytes", "%d", l.KeyLen)
	case off+l.Size() > r.End:
		return Leaf{}, Corrupt(off, "leaf", "its end within the region", "%d bytes", l.Size())
	}
	return l, nil
}

// PrefetchLeaf asks for the lines that follow the first of a leaf, which the
// caller is about to read: most keys and values lie in them. It leaves a leaf at
// the end of its page alone: there may be no memory behind the next page.
func (r Reader) PrefetchLeaf(off uint64) {
	if off%region.PageSize <= region.PageSize-192 {
		r.Mem.Prefetch(off + 64)
		r.Mem.Prefetch(off + 128)
	}
}

// Match reports whether the leaf at off, which the caller has confined, has
// this key. One compare tells that the lengths are equal and the flags zero.
func (r Reader) Match(off, head uint64, key []byte) (Leaf, bool) {
	l := Leaf{Off: off, KeyLen: uint32(len(key)), ValueLen: uint32(head)}
	return l, head>>KeyLenShift == uint64(len(key)) && off+l.Size() <= r.End && r.Mem.Equal(l.KeyOff(), key)
}

// Key returns the bytes of the leaf's key, without copying. They are valid for as
// long as the leaf is.
func (r Reader) Key(l Leaf) []byte { return r.Mem.Bytes(l.KeyOff(), uint64(l.KeyLen)) }

// Value returns the bytes of the leaf's value, without copying. They are valid for as
// long as the leaf is.
func (r Reader) Value(l Leaf) []byte { return r.Mem.Bytes(l.ValueOff(), uint64(l.ValueLen)) }

// Birth returns the version that published the leaf. It means nothing for a
// leaf that is not published yet.
func (r Reader) Birth(l Leaf) uint64 { return r.Mem.Word(l.Off) }

// CompareKey orders the leaf's key and key as bytes.Compare does. It reads
// words, so that an optimistic lookup among collisions is no data race.
func (r Reader) CompareKey(l Leaf, key []byte) int {
	n := min(uint64(l.KeyLen), uint64(len(key)))
	i := uint64(0)
	for ; i+8 <= n; i += 8 {
		a := bits.ReverseBytes64(r.Mem.Word(l.KeyOff() + i))
		if b := binary.BigEndian.Uint64(key[i:]); a != b {
			return cmp.Compare(a, b)
		}
	}
	if i < n {
		// The word is within the region, whose end is a word's end.
		var word [8]byte
		copy(word[:], key[i:n])
		unused := 64 - 8*(n-i)
		a := bits.ReverseBytes64(r.Mem.Word(l.KeyOff()+i)) >> unused
		if b := binary.BigEndian.Uint64(word[:]) >> unused; a != b {
			return cmp.Compare(a, b)
		}
	}
	return cmp.Compare(uint64(l.KeyLen), uint64(len(key)))
}

// Outside returns the error of a reference that leads out of the region.
func (r Reader) Outside(ref Ref) error {
	return Corrupt(ref.Off(), "reference", "an offset within the region", "%v beyond %#x", ref, r.End)
}

// Corrupt builds a region.CorruptError. It stays out of its callers' code, which
// the compiler may then keep short.
//
//go:noinline
func Corrupt(off uint64, what, want, found string, args ...any) error {
	return region.Corrupt(off, what, fmt.Sprintf(found, args...), want)
}
