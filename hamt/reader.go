package hamt

import (
	"math/bits"

	"github.com/seed-869cc763/shmkv/alloc/region"
	"github.com/seed-869cc763/shmkv/node"
)

// A Reader reads tries in the first bytes of a region.
//
// Its methods never touch a byte at or beyond the end they were given and never
// loop or recurse without a bound, whatever stands in memory (I7).
type Reader struct{ node.Reader }

// NewReader returns a Reader of the bytes of mem below end, as node.NewReader does.
// It panics if there is no room for a full branch.
func NewReader(mem region.Mem, end uint64) Reader {
	if end < maxBranch {
		panic("hamt: a reader's end leaves no room for a branch")
	}
	return Reader{node.NewReader(mem, end)}
}

// room is the last offset where there is room for a full branch.
func (r Reader) room() uint64 { return r.End - maxBranch }

// Find looks for the leaf of key, whose hash is h, in the trie at root.
//
// It may be used optimistically, on a root that nobody holds: then the blocks
// it walks may be reused meanwhile, and whatever it returns (Absent and Damaged
// too) is worth nothing until the caller has made sure that they were not. Even
// then the leaf that it returns lies within the region, as does every byte that
// Find touches: what is used of a word is what was checked, not what stands there
// when it is read again.
func (r Reader) Find(root node.Ref, h uint64, key []byte) (node.Leaf, node.Status) {
	room := r.room() >> 3
	ref := descend(r.Mem, ^h, root, room)
	if at := bits.RotateLeft64(uint64(ref)^h>>node.TagShift<<node.TagShift, -3) - uint64(node.KindLeaf)<<61; at <= room {
		off := at << 3
		r.PrefetchLeaf(off)
		if l, ok := r.Match(off, r.Mem.Word(off+node.HeadOff), key); ok {
			return l, node.Present
		}
	} else if k := ref.Kind(); k == node.KindNil || k == node.KindLeaf && ref.Tag() != h>>node.TagShift {
		return node.Leaf{}, node.Absent
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
func descend(mem region.Mem, path uint64, ref node.Ref, room uint64) node.Ref {
	for range maxDepth - 1 { // the last level has fewer bits
		at := bits.RotateLeft64(uint64(ref), -3) - uint64(node.KindBranch)<<61
		if at > room {
			break
		}
		prefetchBranch(mem, at<<3, ^path&levelMask)
		// The bit of the key's index becomes the sign, so one shift gives both
		// its presence and, by counting, its place.
		x := mem.Word(at<<3+node.HeadOff) << (path & levelMask)
		if int64(x) >= 0 {
			return 0
		}
		ref = node.Ref(mem.Word((at+uint64(bits.OnesCount64(x)))<<3 + node.HeadOff))
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
	if at := off + node.HeaderSize + index*node.WordSize; (at^off)/region.PageSize == 0 {
		mem.Prefetch(at)
	}
}

// findCarefully looks key up below ref, which stands depth branches below the
// root, where Find's shortcuts do not do.
func (r Reader) findCarefully(ref node.Ref, h uint64, key []byte, depth int) (node.Leaf, node.Status) {
	l, found, err := r.lookup(ref, h, key, depth)
	switch {
	case err != nil:
		return node.Leaf{}, node.Damaged
	case found:
		return l, node.Present
	}
	return node.Leaf{}, node.Absent
}

// Explain walks the way of Find and returns the first damage that it meets on
// it, as an error, or nil. It is for after a Find that said Damaged about a
// trie that does not change.
func (r Reader) Explain(root node.Ref, h uint64, key []byte) error {
	_, _, err := r.lookup(root, h, key, 0)
	return err
}

// lookup is Find with every check, and with the damage as an error.
func (r Reader) lookup(ref node.Ref, h uint64, key []byte, depth int) (l node.Leaf, found bool, err error) {
	for ; ref.Kind() == node.KindBranch; depth++ {
		b, err := r.branch(ref, depth)
		if err != nil {
			return node.Leaf{}, false, err
		}
		i, ok := b.index(h, depth)
		if !ok {
			return node.Leaf{}, false, nil
		}
		if ref = b.ref(r, i); ref == 0 {
			return node.Leaf{}, false, corruptNil(b.off)
		}
	}
	switch sameTag := ref.Tag() == h>>node.TagShift; {
	case ref == 0 || !sameTag && (ref.Kind() == node.KindLeaf || ref.Kind() == node.KindCollision):
		return node.Leaf{}, false, nil
	case ref.Kind() == node.KindCollision:
		c, err := r.collision(ref)
		if err != nil {
			return node.Leaf{}, false, err
		}
		_, l, found, err = r.search(c, key)
		return l, found, err
	}
	l, err = r.Leaf(ref)
	return l, err == nil && l.KeyLen == uint32(len(key)) && r.Mem.Equal(l.KeyOff(), key), err
}

// What follows reads nodes with every check, for all that is not a lookup. The
// nodes hold still while they are used: they are pinned, or the transaction's
// own.

// branch is a branch whose references all lie within the region.
type branch struct {
	off    uint64
	bitmap uint64
}

// branch reads the branch at ref, which stands depth branches below the root.
func (r Reader) branch(ref node.Ref, depth int) (branch, error) {
	off := ref.Off()
	if off > r.Last() {
		return branch{}, r.Outside(ref)
	}
	return r.branchHead(ref, depth, r.Mem.Word(off+node.HeadOff))
}

// branchHead is branch for a caller that has read the head word.
func (r Reader) branchHead(ref node.Ref, depth int, bitmap uint64) (branch, error) {
	b := branch{off: ref.Off(), bitmap: bitmap}
	switch {
	case depth >= maxDepth:
		return b, node.Corrupt(b.off, "branch", "no branch below the last level", "one at depth %d", depth)
	case bitmap == 0:
		return b, node.Corrupt(b.off, "branch", "a child", "an empty bitmap")
	case b.off+nodeSize(b.count()) > r.End:
		return b, node.Corrupt(b.off, "branch", "its end within the region", "%d children", b.count())
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

func (b branch) refOff(i uint64) uint64             { return b.off + node.HeaderSize + node.WordSize*i }
func (b branch) ref(r Reader, i uint64) node.Ref    { return node.Ref(r.Mem.Word(b.refOff(i))) }
func (c collision) refOff(i uint64) uint64          { return c.off + node.HeaderSize + node.WordSize*i }
func (c collision) ref(r Reader, i uint64) node.Ref { return node.Ref(r.Mem.Word(c.refOff(i))) }

// collision is a collision node whose references all lie within the region.
type collision struct {
	off   uint64
	count uint64
}

func (c collision) size() uint64 { return nodeSize(c.count) }

// collision reads the collision node at ref.
func (r Reader) collision(ref node.Ref) (collision, error) {
	off := ref.Off()
	if off > r.Last() {
		return collision{}, r.Outside(ref)
	}
	return r.collisionHead(ref, r.Mem.Word(off+node.HeadOff))
}

// collisionHead is collision for a caller that has read the head word.
func (r Reader) collisionHead(ref node.Ref, count uint64) (collision, error) {
	c := collision{off: ref.Off(), count: count}
	switch {
	case count < 2:
		return c, node.Corrupt(c.off, "collision", "two leaves or more", "%d", count)
	case count > (r.Last()-c.off)/node.WordSize:
		return c, node.Corrupt(c.off, "collision", "its end within the region", "%d leaves", count)
	}
	return c, nil
}

// search looks for key among the leaves of c, which are in the order of their
// keys. i is its place, or the place where it would be.
func (r Reader) search(c collision, key []byte) (i uint64, l node.Leaf, found bool, err error) {
	lo, hi := uint64(0), c.count
	for lo < hi {
		mid := (lo + hi) / 2
		l, err := r.Leaf(c.ref(r, mid))
		if err != nil {
			return 0, node.Leaf{}, false, err
		}
		switch d := r.CompareKey(l, key); {
		case d == 0:
			return mid, l, true, nil
		case d < 0:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return lo, node.Leaf{}, false, nil
}

func corruptNil(off uint64) error {
	return node.Corrupt(off, "branch", "a node for every bit of its bitmap", "a nil reference")
}
