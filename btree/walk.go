package btree

import "github.com/seed-869cc763/shmkv/node"

// minEntrySize is the least number of bytes that an entry takes: the smallest leaf, its
// head and its reference.
const minEntrySize = node.HeaderSize + 2*node.WordSize

// Ascend calls visit for n leaves of the tree at root, in ascending order, from the one on
// before which the tree has first others, until visit returns false or there are no more.
// The tree must not change meanwhile. Ascend returns a region.CorruptError for a damaged
// tree.
//
// A damaged tree can refer to one node in many places. So Ascend stops with an error after
// as many leaves as the region has room for.
func (r Reader) Ascend(root node.Ref, first, n uint64, visit func(node.Leaf) bool) error {
	return r.walk(root, first, n, false, visit)
}

// Descend is Ascend in descending order: the tree has first others behind the first leaf
// that it visits.
func (r Reader) Descend(root node.Ref, first, n uint64, visit func(node.Leaf) bool) error {
	return r.walk(root, first, n, true, visit)
}

func (r Reader) walk(root node.Ref, first, n uint64, backward bool, visit func(node.Leaf) bool) error {
	if root == 0 || n == 0 {
		return nil
	}
	w := walker{r: r, pass: first, left: n, room: r.End / minEntrySize, backward: backward, visit: visit}
	return w.node(root, 0)
}

type walker struct {
	r        Reader
	pass     uint64 // leaves to be passed over
	left     uint64 // leaves to be visited
	room     uint64 // leaves that may still be visited
	backward bool
	visit    func(node.Leaf) bool
}

// node visits the leaves below ref.
func (w *walker) node(ref node.Ref, depth int) error {
	t, err := w.r.node(ref, depth)
	if err != nil {
		return err
	}
	if !t.inner() {
		return w.leaves(t)
	}
	for k := uint64(0); k < t.n && w.left > 0; k++ {
		i := w.index(t, k)
		if n := w.r.count(t, i); w.pass >= n {
			w.pass -= n
			continue
		}
		if k+1 < t.n {
			w.r.prefetch(w.r.ref(t, w.index(t, k+1)).Off())
		}
		if err := w.node(w.r.ref(t, i), depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) index(t tnode, k uint64) uint64 {
	if w.backward {
		return t.n - 1 - k
	}
	return k
}

// leaves visits the leaves of a bottom node. It reads the head words of all of them first,
// and prefetches what follows, so that these loads overlap. A walk spends most of its time
// in them.
func (w *walker) leaves(t tnode) error {
	var refs [maxBottom]node.Ref
	var heads [maxBottom]uint64
	if passed := min(w.pass, t.n); passed > 0 {
		if w.room < passed {
			return w.tooMany(t.off)
		}
		w.room -= passed
		if passed == t.n {
			w.pass -= passed
			return nil
		}
	}
	n := min(t.n-w.pass, w.left)
	for k := range n {
		ref := w.r.ref(t, w.index(t, w.pass+k))
		off := min(ref.Off(), w.r.Last())
		refs[k], heads[k] = ref, w.r.Mem.Word(off+node.HeadOff)
		w.r.PrefetchLeaf(off)
	}
	w.pass = 0
	for k, ref := range refs[:n] {
		if ref.Off() > w.r.Last() {
			return w.r.Outside(ref)
		}
		l, err := w.r.LeafHead(ref, heads[k])
		if err != nil {
			return err
		}
		if w.room == 0 {
			return w.tooMany(l.Off)
		}
		w.room--
		w.left--
		if !w.visit(l) {
			w.left = 0
			return nil
		}
	}
	return nil
}

func (w *walker) tooMany(off uint64) error {
	return node.Corrupt(off, "ordered tree", "no more leaves than the region has room for", "one more")
}
