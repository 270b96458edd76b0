package btree

import (
	"bytes"

	"github.com/seed-869cc763/shmkv/node"
)

// minEntrySize is the least number of bytes that an entry takes: the smallest leaf, its
// head and its reference.
const minEntrySize = node.HeaderSize + 2*node.WordSize

// Range calls visit for the leaves of the tree at root whose keys are not less than from and
// less than to, in ascending order, until visit returns false. nil is an open end. The tree
// must not change meanwhile. Range returns a region.CorruptError for a damaged tree.
//
// Range looks up both ends, and then reads no nodes but those of the range.
//
// A damaged tree can refer to one node in many places. So Range stops with an error after
// as many leaves as the region has room for.
func (r Reader) Range(root node.Ref, from, to []byte, visit func(node.Leaf) bool) error {
	return r.walk(root, from, to, false, visit)
}

// Backward is Range in descending order.
func (r Reader) Backward(root node.Ref, from, to []byte, visit func(node.Leaf) bool) error {
	return r.walk(root, from, to, true, visit)
}

func (r Reader) walk(root node.Ref, from, to []byte, backward bool, visit func(node.Leaf) bool) error {
	if root == 0 || from != nil && to != nil && bytes.Compare(from, to) >= 0 {
		return nil
	}
	w := walker{r: r, room: r.End / minEntrySize, backward: backward, visit: visit}
	begin, end, behind := from, to, Ceil
	if backward {
		begin, end, behind = to, from, Lower
	}
	if end != nil {
		stop, err := r.Near(root, end, behind)
		if err != nil {
			return err
		}
		w.stop = stop.Off
	}
	if begin == nil {
		return w.node(root, 0)
	}
	var p path
	if _, err := r.seek(root, begin, &p); err != nil {
		return err
	}
	return w.from(&p)
}

type walker struct {
	r        Reader
	stop     uint64 // the offset of the leaf behind the range, or 0
	room     uint64 // leaves that may still be visited
	backward bool
	ended    bool
	visit    func(node.Leaf) bool
}

// from visits the leaves from a place on.
func (w *walker) from(p *path) error {
	for d := p.depth - 1; d >= 0 && !w.ended; d-- {
		s := p.at[d]
		skip := s.i
		if w.backward {
			skip = s.n - s.i
		} else if s.inner() {
			skip++
		}
		var err error
		if s.inner() {
			err = w.children(s.tnode, skip, d)
		} else {
			err = w.leaves(s.tnode, skip)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// node visits the leaves below ref.
func (w *walker) node(ref node.Ref, depth int) error {
	t, err := w.r.node(ref, depth)
	if err != nil {
		return err
	}
	if !t.inner() {
		return w.leaves(t, 0)
	}
	return w.children(t, 0, depth)
}

// children visits the leaves below the children of an inner node, but for the first skip.
func (w *walker) children(t tnode, skip uint64, depth int) error {
	for k := skip; k < t.n && !w.ended; k++ {
		if k+1 < t.n {
			w.r.prefetch(w.r.ref(t, w.index(t, k+1)).Off())
		}
		if err := w.node(w.r.ref(t, w.index(t, k)), depth+1); err != nil {
			return err
		}
	}
	return nil
}

// index returns the index of the child that comes after k others.
func (w *walker) index(t tnode, k uint64) uint64 {
	if w.backward {
		return t.n - 1 - k
	}
	return k
}

// leaves visits the leaves of a bottom node, but for the first skip. It reads the head words
// of all of them first, and prefetches what follows, so that these loads overlap. A walk
// spends most of its time in them.
func (w *walker) leaves(t tnode, skip uint64) error {
	var refs [maxBottom]node.Ref
	var heads [maxBottom]uint64
	n := t.n - min(skip, t.n)
	for k := range n {
		ref := w.r.ref(t, w.index(t, skip+k))
		off := min(ref.Off(), w.r.Last())
		refs[k], heads[k] = ref, w.r.Mem.Word(off+node.HeadOff)
		w.r.PrefetchLeaf(off)
	}
	for k, ref := range refs[:n] {
		if ref.Off() > w.r.Last() {
			return w.r.Outside(ref)
		}
		l, err := w.r.LeafHead(ref, heads[k])
		if err != nil {
			return err
		}
		if w.room == 0 {
			return node.Corrupt(l.Off, "ordered tree", "no more leaves than the region has room for", "one more")
		}
		w.room--
		if l.Off == w.stop || !w.visit(l) {
			w.ended = true
			return nil
		}
	}
	return nil
}
