package hamt

import (
	"cmp"
	"encoding/binary"
	"math/bits"

	"github.com/seed-869cc763/shmkv/alloc/region"
)

// A Reader reads tries in the first bytes of a region. It is a small value,
// made afresh for each use, since the region's end moves as the store grows.
//
// Its methods never touch a byte at or beyond the end they were given and never
// loop or recurse without a bound, whatever stands in memory (I7).
type Reader struct {
	mem region.Mem
	end uint64 // all of [0, end) can be touched; a multiple of 8, at least minEnd
}

// last is the last place where a node can start, room the last place where
// there is room for a full branch.
func (r Reader) last() uint64 { return r.end - headerSize }
func (r Reader) room() uint64 { return r.end - maxBranch }

// minEnd is the least end of a Reader: room for one node, and a multiple of 8.
const minEnd = maxBranch

// NewReader returns a Reader of the bytes of mem below end. The caller vouches
// that they are backed. An end that leaves no room for a full branch, or
// that is beyond mem, is a mistake of the caller's, not of whoever wrote the region,
// and panics.
func NewReader(mem region.Mem, end uint64) Reader {
	if end < minEnd || end > mem.Size() {
		panic("hamt: a reader's end is outside its region")
	}
	end &^= wordSize - 1
	return Reader{mem, end}
}

// Status is the outcome of a lookup.
type Status uint8

// The outcomes of a lookup.
const (
	Absent  Status = iota
	Present        // the key's leaf was found
	Damaged        // what the walk met is no trie: see Reader.Explain
)

func (s Status) String() string {
	switch s {
	case Absent:
		return "absent"
	case Present:
		return "present"
	}
	return "damaged"
}

// Find looks for the leaf of key, whose hash is h, in the trie at root.
//
// It may be used optimistically, on a root that nobody holds: then the blocks
// it walks may be reused meanwhile, and whatever it returns (Absent and Damaged
// too) is worth nothing until the caller has made sure that they were not. Even
// then the leaf that it returns lies within the region, as does every byte that
// Find touches: what is used of a word is what was checked, not what stands there
// when it is read again.
func (r Reader) Find(root Ref, h uint64, key []byte) (Leaf, Status) {
	room := r.room() >> 3
	ref := descend(r.mem, ^h, root, room)
	if at := bits.RotateLeft64(uint64(ref)^h>>tagShift<<tagShift, -3) - uint64(kindLeaf)<<61; at <= room {
		off := at << 3
		r.prefetchLeaf(off)
		if l, ok := r.match(off, r.mem.Word(off+headOff), key); ok {
			return l, Present
		}
	} else if k := ref.kind(); k == kindNil || k == kindLeaf && ref.tag() != h>>tagShift {
		return Leaf{}, Absent
	}
	return r.findCarefully(root, h, key, 0)
}

// descend returns the reference that stands where a hash leads, given by its
// complement: nil, if nothing does. It may return another where something is unusual.
//
// In a small trie what counts is how few instructions a level takes. One compare
// tells that a reference is a branch's, and that a full branch has room there: it is
// turned so that its kind comes into the top bits. In a large one nearly all of the
// time is waiting for memory: so what is likely to be read next is asked for early,
// which is about 5 % of a get among 10^5 entries and more.
func descend(mem region.Mem, path uint64, ref Ref, room uint64) Ref {
	for range maxDepth - 1 { // the last level has fewer bits
		at := bits.RotateLeft64(uint64(ref), -3) - uint64(kindBranch)<<61
		if at > room {
			break
		}
		prefetchBranch(mem, at<<3, ^path&levelMask)
		// The bit of the key's index becomes the sign, so one shift gives both
		// its presence and, by counting, its place.
		x := mem.Word(at<<3+headOff) << (path & levelMask)
		if int64(x) >= 0 {
			return 0
		}
		ref = Ref(mem.Word((at+uint64(bits.OnesCount64(x)))<<3 + headOff))
		path >>= levelBits
	}
	return ref
}

// prefetchBranch asks for the line in which the reference of an index is likely to
// be, together with that of the bitmap which tells its place: the line that follows,
// and the one where it stands in a full branch.
func prefetchBranch(mem region.Mem, off, index uint64) {
	if off%region.PageSize < region.PageSize-72 {
		mem.Prefetch(off + 72)
	}
	if at := off + headerSize + index*wordSize; (at^off)/region.PageSize == 0 {
		mem.Prefetch(at)
	}
}

// prefetchLeaf asks for the lines that follow the first of a leaf, which the
// caller is about to read: most keys and values lie in them. off is at most
// room. A leaf at the end of its page is left alone: there may be no memory behind
// the next.
func (r Reader) prefetchLeaf(off uint64) {
	if off%region.PageSize <= region.PageSize-192 {
		r.mem.Prefetch(off + 64)
		r.mem.Prefetch(off + 128)
	}
}

// match reports whether the leaf at off, which the caller has confined, has
// this key. One compare tells that the lengths are equal and the flags zero.
func (r Reader) match(off, head uint64, key []byte) (Leaf, bool) {
	l := Leaf{Off: off, KeyLen: uint32(len(key)), ValueLen: uint32(head)}
	return l, head>>keyLenShift == uint64(len(key)) && off+l.Size() <= r.end && r.mem.Equal(l.KeyOff(), key)
}

// findCarefully looks key up below ref, which stands depth branches below the
// root, where Find's shortcuts do not do.
func (r Reader) findCarefully(ref Ref, h uint64, key []byte, depth int) (Leaf, Status) {
	l, found, err := r.lookup(ref, h, key, depth)
	switch {
	case err != nil:
		return Leaf{}, Damaged
	case found:
		return l, Present
	}
	return Leaf{}, Absent
}

// Explain walks the way of Find and returns the first damage that it meets on
// it, as an error, or nil. It is for after a Find that said Damaged about a
// trie that does not change.
func (r Reader) Explain(root Ref, h uint64, key []byte) error {
	_, _, err := r.lookup(root, h, key, 0)
	return err
}

// lookup is Find with every check, and with the damage as an error.
func (r Reader) lookup(ref Ref, h uint64, key []byte, depth int) (l Leaf, found bool, err error) {
	for ; ref.kind() == kindBranch; depth++ {
		b, err := r.branch(ref, depth)
		if err != nil {
			return Leaf{}, false, err
		}
		i, ok := b.index(h, depth)
		if !ok {
			return Leaf{}, false, nil
		}
		if ref = b.ref(r, i); ref == 0 {
			return Leaf{}, false, corruptNil(b.off)
		}
	}
	switch sameTag := ref.tag() == h>>tagShift; {
	case ref == 0 || !sameTag && (ref.kind() == kindLeaf || ref.kind() == kindCollision):
		return Leaf{}, false, nil
	case ref.kind() == kindCollision:
		c, err := r.collision(ref)
		if err != nil {
			return Leaf{}, false, err
		}
		_, l, found, err = r.search(c, key)
		return l, found, err
	}
	l, err = r.leaf(ref)
	return l, err == nil && l.KeyLen == uint32(len(key)) && r.mem.Equal(l.KeyOff(), key), err
}

// Key returns the bytes of the leaf's key, without copying: they are as good
// as the leaf.
func (r Reader) Key(l Leaf) []byte { return r.mem.Bytes(l.KeyOff(), uint64(l.KeyLen)) }

// Value returns the bytes of the leaf's value, without copying: they are as
// good as the leaf.
func (r Reader) Value(l Leaf) []byte { return r.mem.Bytes(l.ValueOff(), uint64(l.ValueLen)) }

// Birth returns the version that published the leaf. It means nothing for a
// leaf that is not published yet.
func (r Reader) Birth(l Leaf) uint64 { return r.mem.Word(l.Off) }

// What follows reads nodes with every check, for all that is not a lookup. The
// nodes hold still while they are used: they are pinned, or the transaction's
// own.

// branch is a branch whose references all lie within the region.
type branch struct {
	off    uint64
	bitmap uint64
}

// branch reads the branch at ref, which stands depth branches below the root.
func (r Reader) branch(ref Ref, depth int) (branch, error) {
	off := ref.Off()
	if off > r.last() {
		return branch{}, r.outside(ref)
	}
	return r.branchHead(ref, depth, r.mem.Word(off+headOff))
}

// branchHead is branch for a caller that has read the head word.
func (r Reader) branchHead(ref Ref, depth int, bitmap uint64) (branch, error) {
	b := branch{off: ref.Off(), bitmap: bitmap}
	switch {
	case depth >= maxDepth:
		return b, corrupt(b.off, "branch", "no branch below the last level", "one at depth %d", depth)
	case bitmap == 0:
		return b, corrupt(b.off, "branch", "a child", "an empty bitmap")
	case b.off+nodeSize(b.count()) > r.end:
		return b, corrupt(b.off, "branch", "its end within the region", "%d children", b.count())
	}
	return b, nil
}

func (b branch) count() uint64 { return uint64(bits.OnesCount64(b.bitmap)) }
func (b branch) size() uint64  { return nodeSize(b.count()) }

// bit returns the bit of hash h in the bitmap of a branch at this depth.
func bit(h uint64, depth int) uint64 {
	return 1 << (h >> (levelBits * uint(depth)) & levelMask)
}

// index returns the place among the references that h has, and whether it is
// taken.
func (b branch) index(h uint64, depth int) (i uint64, taken bool) {
	bit := bit(h, depth)
	return uint64(bits.OnesCount64(b.bitmap & (bit - 1))), b.bitmap&bit != 0
}

func (b branch) refOff(i uint64) uint64        { return b.off + headerSize + wordSize*i }
func (b branch) ref(r Reader, i uint64) Ref    { return Ref(r.mem.Word(b.refOff(i))) }
func (c collision) refOff(i uint64) uint64     { return c.off + headerSize + wordSize*i }
func (c collision) ref(r Reader, i uint64) Ref { return Ref(r.mem.Word(c.refOff(i))) }

// leaf reads the leaf at ref.
func (r Reader) leaf(ref Ref) (Leaf, error) {
	off := ref.Off()
	if off > r.last() {
		return Leaf{}, r.outside(ref)
	}
	return r.leafHead(ref, r.mem.Word(off+headOff))
}

// leafHead is leaf for a caller that has read the head word.
func (r Reader) leafHead(ref Ref, head uint64) (Leaf, error) {
	off := ref.Off()
	l := Leaf{Off: off, KeyLen: uint32(head >> keyLenShift & keyLenMask), ValueLen: uint32(head)}
	switch {
	case ref.kind() != kindLeaf:
		return Leaf{}, corrupt(off, "reference", "a node", "%v", ref)
	case head>>flagsShift != 0:
		return Leaf{}, corrupt(off, "leaf", "no flags", "flags %#x", head>>flagsShift)
	case l.KeyLen > MaxKeyLen:
		return Leaf{}, corrupt(off, "leaf", "a key of at most 65536 bytes", "%d", l.KeyLen)
	case off+l.Size() > r.end:
		return Leaf{}, corrupt(off, "leaf", "its end within the region", "%d bytes", l.Size())
	}
	return l, nil
}

// collision is a collision node whose references all lie within the region.
type collision struct {
	off   uint64
	count uint64
}

func (c collision) size() uint64 { return nodeSize(c.count) }

// collision reads the collision node at ref.
func (r Reader) collision(ref Ref) (collision, error) {
	off := ref.Off()
	if off > r.last() {
		return collision{}, r.outside(ref)
	}
	return r.collisionHead(ref, r.mem.Word(off+headOff))
}

// collisionHead is collision for a caller that has read the head word.
func (r Reader) collisionHead(ref Ref, count uint64) (collision, error) {
	c := collision{off: ref.Off(), count: count}
	switch {
	case count < 2:
		return c, corrupt(c.off, "collision", "two leaves or more", "%d", count)
	case count > (r.last()-c.off)/wordSize:
		return c, corrupt(c.off, "collision", "its end within the region", "%d leaves", count)
	}
	return c, nil
}

// search looks for key among the leaves of c, which are in the order of their
// keys. i is its place, or the place where it would be.
func (r Reader) search(c collision, key []byte) (i uint64, l Leaf, found bool, err error) {
	lo, hi := uint64(0), c.count
	for lo < hi {
		mid := (lo + hi) / 2
		l, err := r.leaf(c.ref(r, mid))
		if err != nil {
			return 0, Leaf{}, false, err
		}
		switch d := r.compareKey(l, key); {
		case d == 0:
			return mid, l, true, nil
		case d < 0:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return lo, Leaf{}, false, nil
}

// compareKey orders the leaf's key and key as bytes.Compare does. It reads
// words, so that an optimistic lookup among collisions is no data race.
func (r Reader) compareKey(l Leaf, key []byte) int {
	n := min(uint64(l.KeyLen), uint64(len(key)))
	i := uint64(0)
	for ; i+8 <= n; i += 8 {
		a := bits.ReverseBytes64(r.mem.Word(l.KeyOff() + i))
		if b := binary.BigEndian.Uint64(key[i:]); a != b {
			return cmp.Compare(a, b)
		}
	}
	if i < n {
		// The word is within the region, whose end is a word's end.
		var word [8]byte
		copy(word[:], key[i:n])
		unused := 64 - 8*(n-i)
		a := bits.ReverseBytes64(r.mem.Word(l.KeyOff()+i)) >> unused
		if b := binary.BigEndian.Uint64(word[:]) >> unused; a != b {
			return cmp.Compare(a, b)
		}
	}
	return cmp.Compare(uint64(l.KeyLen), uint64(len(key)))
}

func (r Reader) outside(ref Ref) error {
	return corrupt(ref.Off(), "reference", "an offset within the region", "%v beyond %#x", ref, r.end)
}

func corruptNil(off uint64) error {
	return corrupt(off, "branch", "a node for every bit of its bitmap", "a nil reference")
}
