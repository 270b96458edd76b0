package hamt

import "math/bits"

// Parts is how many parts Beyond takes a trie in: what is below its first two
// levels of branches.
const Parts = fanout * fanout

// Beyond visits leaves of one part of the trie at root, until visit returns false:
// so that once each of them is written anew, nothing of the part that was at or
// beyond the frontier is in use any more. A leaf takes the branches above it along,
// so one leaf is enough for a branch. The trie must hold still meanwhile.
//
// seen is the bytes of leaves that were looked at in the parts before, and is
// raised: more than twice what the region has room for is damage. (Once is not,
// since leaves may be moved, or come and go, from part to part.)
func (r Reader) Beyond(root Ref, part int, frontier uint64, seen *uint64, visit func(Leaf) bool) error {
	b := beyond{r: r, part: uint64(part), frontier: frontier, visit: visit, seen: seen}
	if root == 0 {
		return nil
	}
	return b.node(root, 0)
}

type beyond struct {
	r        Reader
	part     uint64 // what is left of it below
	frontier uint64
	visit    func(Leaf) bool
	seen     *uint64
	owed     bool // a node above has to move
	stopped  bool
}

func (b *beyond) node(ref Ref, depth int) error {
	if ref.Off() >= b.frontier {
		b.owed = true
	}
	switch ref.kind() {
	case kindBranch:
		n, err := b.r.branch(ref, depth)
		if err != nil {
			return err
		}
		return b.children(n, depth)
	case kindCollision:
		c, err := b.r.collision(ref)
		if err != nil {
			return err
		}
		for i := uint64(0); b.part == 0 && i < c.count && !b.stopped; i++ {
			if err := b.leaf(c.ref(b.r, i)); err != nil {
				return err
			}
		}
		return nil
	}
	if b.part != 0 { // of another part
		return nil
	}
	return b.leaf(ref)
}

// children goes to the child that the part names, or, below the parts, to all.
func (b *beyond) children(n branch, depth int) error {
	todo := n.bitmap
	if depth < 2 {
		todo &= 1 << (b.part & levelMask)
		b.part >>= levelBits
	}
	for ; todo != 0 && !b.stopped; todo &= todo - 1 {
		below := uint64(bits.TrailingZeros64(todo))
		ref := n.ref(b.r, uint64(bits.OnesCount64(n.bitmap&(1<<below-1))))
		if ref == 0 {
			return corruptNil(n.off)
		}
		if err := b.node(ref, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (b *beyond) leaf(ref Ref) error {
	l, err := b.r.leaf(ref)
	if err != nil {
		return err
	}
	if *b.seen += l.Size(); *b.seen > 2*b.r.end {
		return corrupt(l.Off, "trie", "no more leaves than the region has room for", "%d bytes of them", *b.seen)
	}
	if b.owed || l.Off >= b.frontier {
		b.owed = false
		b.stopped = !b.visit(l)
	}
	return nil
}
