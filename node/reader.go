package node

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/seed-869cc763/shmkv/alloc/region"
)

// A Reader reads nodes in the first End bytes of a region. It is a small value. Make a
// new one for each use, because the end moves as the store grows.
type Reader struct {
	Mem region.Mem
	End uint64 // the bytes [0, End) are accessible; a multiple of 8
}

// NewReader returns a Reader of the bytes of mem below end, rounded down to a multiple
// of 8. The caller guarantees that the file has memory for them. NewReader panics if end
// leaves no room for a leaf or is beyond mem.
func NewReader(mem region.Mem, end uint64) Reader {
	if end < HeaderSize || end > mem.Size() {
		panic("node: a reader's end is outside its region")
	}
	return Reader{mem, end &^ (WordSize - 1)}
}

// Last returns the last offset at which a node can start.
func (r Reader) Last() uint64 { return r.End - HeaderSize }

// Leaf reads the leaf at ref. It returns a region.CorruptError if there is no valid
// leaf within the region.
func (r Reader) Leaf(ref Ref) (Leaf, error) {
	off := ref.Off()
	if off > r.Last() {
		return Leaf{}, r.Outside(ref)
	}
	return r.LeafHead(ref, r.Mem.Word(off+HeadOff))
}

// LeafHead is Leaf for a caller that has already read the head word. The caller must
// have checked that ref's offset is at most Last.
func (r Reader) LeafHead(ref Ref, head uint64) (Leaf, error) {
	l := Leaf{ref.Off(), head}
	if ref.Kind() == KindLeaf && l.Flags()&^allFlags == 0 && l.KeyLen() <= MaxKeyLen && l.Off+l.Size() <= r.End {
		return l, nil
	}
	return Leaf{}, r.noLeaf(ref, l)
}

// noLeaf returns the error for a leaf that is not valid. It is not inlined, which keeps
// LeafHead short.
//
//go:noinline
func (r Reader) noLeaf(ref Ref, l Leaf) error {
	switch {
	case ref.Kind() != KindLeaf:
		return Corrupt(l.Off, "reference", "a node", "%v", ref)
	case l.Flags()&^allFlags != 0:
		return Corrupt(l.Off, "leaf", fmt.Sprintf("flags of %#x", allFlags), "flags %#x", l.Flags())
	case l.KeyLen() > MaxKeyLen:
		return Corrupt(l.Off, "leaf", "a key of at most 65536 bytes", "%d", l.KeyLen())
	}
	return Corrupt(l.Off, "leaf", "its end within the region", "%d bytes", l.Size())
}

// PrefetchLeaf prefetches the second and third cache line of the leaf at off, which
// contain the rest of most keys and values. The caller reads the first line itself.
// PrefetchLeaf does nothing in the last 192 bytes of a page, because the next page may
// be a hole.
func (r Reader) PrefetchLeaf(off uint64) {
	if off%region.PageSize <= region.PageSize-192 {
		r.Mem.Prefetch(off + 64)
		r.Mem.Prefetch(off + 128)
	}
}

// Match reports whether the leaf at off has this key, and returns the leaf. head is the
// leaf's head word. The caller must have checked that off is at most Last. Match does
// not check the flags.
func (r Reader) Match(off, head uint64, key []byte) (Leaf, bool) {
	l := Leaf{off, head}
	return l, l.KeyLen() == uint64(len(key)) && off+l.Size() <= r.End && r.Mem.Equal(l.KeyOff(), key)
}

// Key returns the key of the leaf l without copying it. The slice is valid as long as
// the leaf's block is not reused.
func (r Reader) Key(l Leaf) []byte { return r.Mem.Bytes(l.KeyOff(), l.KeyLen()) }

// Value returns the value of the leaf l without copying it. The slice is valid as long as
// the leaf's block is not reused.
func (r Reader) Value(l Leaf) []byte { return r.Mem.Bytes(l.ValueOff(), l.ValueLen()) }

// Extra returns the further words of the leaf l that its map determines. The Reader has
// read l by Leaf or LeafHead. HasSum is not among the flags, because leaves of one map may
// differ in it.
func (r Reader) Extra(l Leaf) (e Extra) {
	if e.Flags = l.Flags() &^ HasSum; e.Flags&HasMap != 0 {
		e.Map = r.Mem.Word(l.wordOff(HasMap))
	}
	return e
}

// CheckExtra returns a region.CorruptError unless the leaf l is one of a map whose leaves
// have the further words want, as Extra returns them.
func (r Reader) CheckExtra(l Leaf, want Extra) error {
	if found := r.Extra(l); found != want {
		return Corrupt(l.Off, "further words of a leaf", fmt.Sprintf("%#x", want), "%#x", found)
	}
	return nil
}

// Birth returns the version that published the leaf. It is meaningless for a leaf that
// is not published yet.
func (r Reader) Birth(l Leaf) uint64 { return r.Mem.Word(l.Off) }

// CompareKey compares the leaf's key with key, as bytes.Compare does. It reads whole
// words, so that the race detector reports no race with an optimistic lookup.
func (r Reader) CompareKey(l Leaf, key []byte) int {
	_, order := r.CommonKey(l, key)
	return order
}

// CommonKey returns how many bytes at its beginning the leaf's key has in common with
// key, and the result of CompareKey.
func (r Reader) CommonKey(l Leaf, key []byte) (same uint64, order int) {
	n := min(l.KeyLen(), uint64(len(key)))
	i := uint64(0)
	for ; i+8 <= n; i += 8 {
		a := bits.ReverseBytes64(r.Mem.Word(l.KeyOff() + i))
		if b := binary.BigEndian.Uint64(key[i:]); a != b {
			return i + uint64(bits.LeadingZeros64(a^b))/8, cmp.Compare(a, b)
		}
	}
	if i < n {
		// The whole word is within the region, because End is a multiple of 8.
		var word [8]byte
		copy(word[:], key[i:n])
		unused := 64 - 8*(n-i)
		a := bits.ReverseBytes64(r.Mem.Word(l.KeyOff()+i)) >> unused << unused
		if b := binary.BigEndian.Uint64(word[:]); a != b {
			return i + uint64(bits.LeadingZeros64(a^b))/8, cmp.Compare(a, b)
		}
	}
	return n, cmp.Compare(l.KeyLen(), uint64(len(key)))
}

// Outside returns the error for a reference to an offset beyond the region.
func (r Reader) Outside(ref Ref) error {
	return Corrupt(ref.Off(), "reference", "an offset within the region", "%v beyond %#x", ref, r.End)
}

// Corrupt returns a region.CorruptError. It formats found with args. Corrupt is not
// inlined, which keeps its callers short.
//
//go:noinline
func Corrupt(off uint64, what, want, found string, args ...any) error {
	return region.Corrupt(off, what, fmt.Sprintf(found, args...), want)
}
