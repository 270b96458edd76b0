package hamt

import (
	"math/bits"

	"github.com/seed-869cc763/shmkv/alloc/region"
	"github.com/seed-869cc763/shmkv/node"
)

// A Reader reads tries in the first End bytes of a region. Whatever the memory
// contains, its methods touch no byte at or beyond End, and their loops and
// recursions are bounded (I7).
type Reader struct{ node.Reader }

// NewReader returns a Reader of the bytes of mem below end, as node.NewReader does.
// It panics if end leaves no room for a full branch (528 bytes).
func NewReader(mem region.Mem, end uint64) Reader {
	if end < maxBranch {
		panic("hamt: a reader's end leaves no room for a branch")
	}
	return Reader{node.NewReader(mem, end)}
}

// room returns the last offset at which a full branch fits.
func (r Reader) room() uint64 { return r.End - maxBranch }

// Find returns the leaf of key, whose hash is h, in the trie at root. It visits at
// most 11 branches.
//
// The caller may use Find optimistically, on a root that is not pinned. Blocks may
// then be reused during the lookup, so the caller must ignore any result (Absent and
// Damaged too) until it has checked that none was. Even then the returned leaf and
// every byte that Find touches lie within the region, because Find reads each offset
// and length once and checks it before use.
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

// descend follows a hash from ref and returns the reference at the end of its path,
// or nil if the path has none. path is the complement of the hash. descend stops
// early at a branch on the last level, near the region's end or at a bad offset, and
// returns the reference to it.
//
// In small tries the number of instructions for each level counts. The rotation moves
// the kind into the top bits, so one compare tells that ref refers to a branch and
// that a full branch fits there. In large tries the loads count. Prefetching the
// lines that are likely to be read next saves about 5 % of a get among 10^5 entries
// and more.
func descend(mem region.Mem, path uint64, ref node.Ref, room uint64) node.Ref {
	for range maxDepth - 1 { // the last level has only 4 bits
		at := bits.RotateLeft64(uint64(ref), -3) - uint64(node.KindBranch)<<61
		if at > room {
			break
		}
		prefetchBranch(mem, at<<3, ^path&levelMask)
		// The shift makes the bit of the key's index the sign bit, which tells
		// whether the child is present. The number of set bits is its position.
		x := mem.Word(at<<3+node.HeadOff) << (path & levelMask)
		if int64(x) >= 0 {
			return 0
		}
		ref = node.Ref(mem.Word((at+uint64(bits.OnesCount64(x)))<<3 + node.HeadOff))
		path >>= levelBits
	}
	return ref
}

// prefetchBranch prefetches the two cache lines that are most likely to hold the
// reference of an index: the line after the bitmap's, and the line that holds it in
// a full branch.
func prefetchBranch(mem region.Mem, off, index uint64) {
	if off%region.PageSize < region.PageSize-72 {
		mem.Prefetch(off + 72)
	}
	if at := off + node.HeaderSize + index*node.WordSize; (at^off)/region.PageSize == 0 {
		mem.Prefetch(at)
	}
}

// findCarefully looks up key below ref, which is depth branches below the root. It
// handles the cases that the fast path of Find does not.
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

// Explain repeats Find with full validation and returns the first corruption on the
// path as a region.CorruptError, or nil. Call it after Find returned Damaged. The
// trie must not change meanwhile.
func (r Reader) Explain(root node.Ref, h uint64, key []byte) error {
	_, _, err := r.lookup(root, h, key, 0)
	return err
}

// lookup is Find with full validation. It returns corruption as an error.
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
	return l, err == nil && l.KeyLen() == uint64(len(key)) && r.Mem.Equal(l.KeyOff(), key), err
}

// AtHash calls visit for each leaf at the end of the path of the hash h, until visit returns
// false: all entries of this hash, or one of another hash.
func (r Reader) AtHash(root node.Ref, h uint64, visit func(node.Leaf) bool) error {
	ref := root
	for depth := 0; ref.Kind() == node.KindBranch; depth++ {
		b, err := r.branch(ref, depth)
		if err != nil {
			return err
		}
		i, ok := b.index(h, depth)
		if !ok {
			return nil
		}
		if ref = b.ref(r, i); ref == 0 {
			return corruptNil(b.off)
		}
	}
	n := uint64(1)
	at := func(uint64) node.Ref { return ref }
	switch ref.Kind() {
	case node.KindNil:
		return nil
	case node.KindCollision:
		c, err := r.collision(ref)
		if err != nil {
			return err
		}
		n, at = c.count, func(i uint64) node.Ref { return c.ref(r, i) }
	}
	for i := range n {
		l, err := r.Leaf(at(i))
		if err != nil || !visit(l) {
			return err
		}
	}
	return nil
}

// The functions below validate each node that they read. The slower operations use
// them, on nodes that are pinned or the transaction's own. findCarefully and light
// transactions use them on nodes that may be reused meanwhile, too.

// A branch is a branch node whose references all lie within the region.
type branch struct {
	off    uint64
	bitmap uint64
}

// branch reads the branch at ref, which is depth branches below the root.
func (r Reader) branch(ref node.Ref, depth int) (branch, error) {
	off := ref.Off()
	if off > r.Last() {
		return branch{}, r.Outside(ref)
	}
	return r.branchHead(ref, depth, r.Mem.Word(off+node.HeadOff))
}

// branchHead is branch for a caller that has already read the head word.
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

// index returns the position of the reference for h, and whether the branch has it.
// If not, index returns the position at which to insert it.
func (b branch) index(h uint64, depth int) (i uint64, taken bool) {
	bit := bit(h, depth)
	return uint64(bits.OnesCount64(b.bitmap & (bit - 1))), b.bitmap&bit != 0
}

func (b branch) refOff(i uint64) uint64             { return b.off + node.HeaderSize + node.WordSize*i }
func (b branch) ref(r Reader, i uint64) node.Ref    { return node.Ref(r.Mem.Word(b.refOff(i))) }
func (c collision) refOff(i uint64) uint64          { return c.off + node.HeaderSize + node.WordSize*i }
func (c collision) ref(r Reader, i uint64) node.Ref { return node.Ref(r.Mem.Word(c.refOff(i))) }

// A collision is a collision node whose references all lie within the region.
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

// collisionHead is collision for a caller that has already read the head word.
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

// search looks for key among the leaves of c, which are in key order, by binary
// search. i is its position, or the position at which to insert it.
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

// corruptNil returns the error for a nil reference in the branch at off.
func corruptNil(off uint64) error {
	return node.Corrupt(off, "branch", "a node for every bit of its bitmap", "a nil reference")
}
