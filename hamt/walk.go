package hamt

import (
	"math/bits"

	"github.com/seed-869cc763/shmkv/node"
)

// minEntrySize is the least number of bytes that an entry takes: the smallest leaf and
// its reference in a branch or collision.
const minEntrySize = node.HeaderSize + node.WordSize

// Walk calls visit for each leaf of the trie at root, in no particular order, until
// visit returns false. The trie must not change meanwhile. Walk returns a
// region.CorruptError for a damaged trie.
//
// A damaged trie can refer to one node in many places. So Walk stops with an error
// after as many leaves as the region has room for.
func (r Reader) Walk(root node.Ref, visit func(node.Leaf) bool) error {
	w := walker{r: r, visit: visit, left: r.End / minEntrySize}
	if root == 0 {
		return nil
	}
	if root.Off() > r.Last() {
		return r.Outside(root)
	}
	return w.node(root, r.Mem.Word(root.Off()+node.HeadOff), 0)
}

// WalkFrom is Walk for the leaves from a position on, in the order of positions. The
// position of a hash is its path, with the index at the root in the top bits: see Position.
// At first WalkFrom may visit one leaf, or the leaves of one collision, that lie before
// pos. To begin at a random position gives random entries.
func (r Reader) WalkFrom(root node.Ref, pos uint64, visit func(node.Leaf) bool) error {
	w := walker{r: r, visit: visit, left: r.End / minEntrySize}
	return w.from(root, pos, 0)
}

// Position returns the position of a hash in the order of WalkFrom. It is another number
// for each hash.
func Position(h uint64) (pos uint64) {
	for range maxDepth - 1 {
		pos = pos<<levelBits | h&levelMask
		h >>= levelBits
	}
	return pos<<lastBits | h
}

// lastBits is the number of bits of a hash that the last level has.
const lastBits = 64 - levelBits*(maxDepth-1)

// indexAt returns the index at a depth on the path of a position.
func indexAt(pos uint64, depth int) uint64 {
	if depth >= maxDepth-1 {
		return pos & (1<<lastBits - 1)
	}
	return pos >> (64 - levelBits*(uint(depth)+1)) & levelMask
}

type walker struct {
	r       Reader
	visit   func(node.Leaf) bool
	left    uint64 // leaves that may still be visited
	stopped bool
}

// node visits the leaves below ref. head is the head word of its node.
func (w *walker) node(ref node.Ref, head uint64, depth int) error {
	switch ref.Kind() {
	case node.KindBranch:
		b, err := w.r.branchHead(ref, depth, head)
		if err != nil {
			return err
		}
		return w.children(b.refOff(0), b.count(), depth+1)
	case node.KindCollision:
		c, err := w.r.collisionHead(ref, head)
		if err != nil {
			return err
		}
		return w.leaves(c)
	}
	l, err := w.r.LeafHead(ref, head)
	if err != nil {
		return err
	}
	return w.leaf(l)
}

// from visits the leaves below ref from a position on.
func (w *walker) from(ref node.Ref, pos uint64, depth int) error {
	if ref.Kind() != node.KindBranch {
		if ref == 0 {
			return nil
		}
		if ref.Off() > w.r.Last() {
			return w.r.Outside(ref)
		}
		return w.node(ref, w.r.Mem.Word(ref.Off()+node.HeadOff), depth)
	}
	b, err := w.r.branch(ref, depth)
	if err != nil {
		return err
	}
	bit := uint64(1) << indexAt(pos, depth)
	i := uint64(bits.OnesCount64(b.bitmap & (bit - 1)))
	if b.bitmap&bit != 0 {
		child := b.ref(w.r, i)
		if child == 0 {
			return corruptNil(b.off)
		}
		if err := w.from(child, pos, depth+1); err != nil || w.stopped {
			return err
		}
		i++
	}
	return w.children(b.refOff(i), b.count()-i, depth+1)
}

// children visits the leaves below the n references of a branch at offset at. It reads
// the head words of all children first, so that these loads overlap. A walk spends
// most of its time in them.
func (w *walker) children(at, n uint64, depth int) error {
	var refs [fanout]node.Ref
	var heads [fanout]uint64
	for i := range n {
		refs[i] = node.Ref(w.r.Mem.Word(at + node.WordSize*i))
		heads[i] = w.r.Mem.Word(min(refs[i].Off(), w.r.Last()) + node.HeadOff)
	}
	for i, ref := range refs[:n] {
		if ref == 0 {
			return corruptNil(at)
		}
		if ref.Off() > w.r.Last() {
			return w.r.Outside(ref)
		}
		if err := w.node(ref, heads[i], depth); err != nil || w.stopped {
			return err
		}
	}
	return nil
}

func (w *walker) leaves(c collision) error {
	for i := range c.count {
		l, err := w.r.Leaf(c.ref(w.r, i))
		if err != nil {
			return err
		}
		if err := w.leaf(l); err != nil || w.stopped {
			return err
		}
	}
	return nil
}

func (w *walker) leaf(l node.Leaf) error {
	if w.left == 0 {
		return node.Corrupt(l.Off, "trie", "no more leaves than the region has room for", "one more")
	}
	w.left--
	w.stopped = !w.visit(l)
	return nil
}
