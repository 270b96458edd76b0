package hamt

import "github.com/seed-869cc763/shmkv/node"

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
