package hamt

import "math/bits"

// Parts is how many parts Beyond takes a trie in: what is below its first two
// levels of branches.
const Parts = fanout * fanout

// Beyond visits leaves of one part of the trie at root, until visit returns false:
// so that once each of them is written anew, nothing of the part that was at or
// beyond the frontier is in use any more. A leaf takes the branches above it along,
// so one leaf is enough for a branch. The trie must hold still meanwhile; the other
// parts may be those of other versions.
//
// hash must be the function that the trie was built with. Every leaf is proved to
// stand where its hash leads, so none is reached twice, and Beyond ends however
// damaged the trie is: it looks at no more leaves than the part has.
func (r Reader) Beyond(root Ref, part int, frontier uint64, hash func(key []byte) uint64, visit func(Leaf) bool) error {
	b := beyond{r: r, part: uint64(part), frontier: frontier, hash: hash, visit: visit}
	if root == 0 {
		return nil
	}
	return b.node(root, place{})
}

type beyond struct {
	r        Reader
	part     uint64 // what is left of it below
	frontier uint64
	hash     func(key []byte) uint64
	visit    func(Leaf) bool
	owed     bool // a node above has to move
	stopped  bool
}

func (b *beyond) node(ref Ref, at place) error {
	if ref.Off() >= b.frontier {
		b.owed = true
	}
	switch ref.kind() {
	case kindBranch:
		n, err := b.r.branch(ref, at.depth)
		if err != nil {
			return err
		}
		return b.children(n, at)
	case kindCollision:
		c, err := b.r.collision(ref)
		if err != nil {
			return err
		}
		for i := uint64(0); b.part == 0 && i < c.count && !b.stopped; i++ {
			if err := b.leaf(c.ref(b.r, i), at); err != nil {
				return err
			}
		}
		return nil
	}
	if b.part != 0 { // of another part
		return nil
	}
	return b.leaf(ref, at)
}

// children goes to the child that the part names, or, below the parts, to all.
func (b *beyond) children(n branch, at place) error {
	todo := n.bitmap
	if at.depth < 2 {
		todo &= 1 << (b.part & levelMask)
		b.part >>= levelBits
	}
	for ; todo != 0 && !b.stopped; todo &= todo - 1 {
		below := uint64(bits.TrailingZeros64(todo))
		ref := n.ref(b.r, uint64(bits.OnesCount64(n.bitmap&(1<<below-1))))
		if ref == 0 {
			return corruptNil(n.off)
		}
		path := at.path | below<<(levelBits*uint(at.depth))
		if err := b.node(ref, place{depth: at.depth + 1, path: path}); err != nil {
			return err
		}
	}
	return nil
}

func (b *beyond) leaf(ref Ref, at place) error {
	l, err := b.r.leaf(ref)
	if err != nil {
		return err
	}
	hash := b.hash(b.r.Key(l))
	if mask := uint64(1)<<(levelBits*uint(at.depth)) - 1; hash&mask != at.path {
		return corrupt(l.Off, "leaf", "a key whose hash leads there",
			"hash %#016x on the path of %#x at depth %d", hash, at.path, at.depth)
	}
	if b.owed || l.Off >= b.frontier {
		b.owed = false
		b.stopped = !b.visit(l)
	}
	return nil
}
