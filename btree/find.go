package btree

import "github.com/seed-869cc763/shmkv/node"

// Find returns the leaf of key in the tree at root. It visits at most maxDepth nodes.
//
// The caller may use Find optimistically, as hamt.Reader.Find: the blocks may be reused
// during the lookup, and then the result means nothing. Every byte that Find touches, and
// the returned leaf, lie within the region even so.
//
// Find does not compare the skipped bytes of a key. If the tree has the key, the key has
// them. Otherwise it ends at some other leaf, or at none.
func (r Reader) Find(root node.Ref, key []byte) (node.Leaf, node.Status) {
	if root == 0 {
		return node.Leaf{}, node.Absent
	}
	ref := root
	for depth := range maxDepth {
		r.prefetch(ref.Off())
		t, ok := r.open(ref)
		if !ok {
			return node.Leaf{}, node.Damaged
		}
		h := headOf(key, t.skip)
		i := r.upper(t.headsOff(), t.n, h)
		if !t.inner() {
			return r.findBottom(t, i, h, key)
		}
		i, ok = r.child(t, i, h, key, depth)
		if !ok {
			return node.Leaf{}, node.Damaged
		}
		ref = r.ref(t, i)
	}
	return node.Leaf{}, node.Damaged
}

// findBottom looks key, of head h, up in a bottom node, of which i heads are not greater.
func (r Reader) findBottom(t tnode, i, h uint64, key []byte) (node.Leaf, node.Status) {
	if i == 0 || r.head(t, i-1) != h {
		return node.Leaf{}, node.Absent
	}
	ref := r.ref(t, i-1)
	if ref.Kind() == node.KindLeaf && ref.Off() <= r.Last() {
		r.PrefetchLeaf(ref.Off())
		if l, ok := r.Match(ref.Off(), r.Mem.Word(ref.Off()+node.HeadOff), key); ok {
			return l, node.Present
		}
	}
	_, l, found, err := r.position(t, i, h, key)
	switch {
	case err != nil:
		return node.Leaf{}, node.Damaged
	case found:
		return l, node.Present
	}
	return node.Leaf{}, node.Absent
}

// position returns where in a bottom node the key of head h is, or would be inserted. Of
// the heads, i are not greater than h. It also returns the leaf that it compared last, or
// the zero Leaf if it compared none.
func (r Reader) position(t tnode, i, h uint64, key []byte) (at uint64, l node.Leaf, found bool, err error) {
	lo := i
	for lo > 0 && r.head(t, lo-1) == h {
		lo--
	}
	for hi := i; lo < hi; {
		mid := (lo + hi) / 2
		if l, err = r.Leaf(r.ref(t, mid)); err != nil {
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
	return lo, l, false, nil
}

// child returns the child of an inner node that key, of head h, leads to. Of the heads, i
// are not greater than h. depth is the number of nodes above.
//
// A key that has the head of a child's separator belongs to that child, unless the
// separator is tied. Then it belongs to it if it is not less than the least key below.
func (r Reader) child(t tnode, i, h uint64, key []byte, depth int) (uint64, bool) {
	if i <= 1 {
		return 0, true // the least child has no separator
	}
	if i--; r.ref(t, i)&node.Tied == 0 || r.head(t, i) != h {
		return i, true
	}
	lo := i // the children in (lo, i] are tied, with this head
	for lo > 0 && r.head(t, lo) == h && r.ref(t, lo)&node.Tied != 0 {
		lo--
	}
	for lo < i {
		mid := (lo + i + 1) / 2
		l, err := r.edge(r.ref(t, mid), depth+1, false)
		if err != nil {
			return 0, false
		}
		if r.CompareKey(l, key) <= 0 {
			lo = mid
		} else {
			i = mid - 1
		}
	}
	return lo, true
}

// edge returns the least leaf below ref, or the greatest.
func (r Reader) edge(ref node.Ref, depth int, greatest bool) (node.Leaf, error) {
	for ; ; depth++ {
		t, err := r.node(ref, depth)
		if err != nil {
			return node.Leaf{}, err
		}
		i := uint64(0)
		if greatest {
			i = t.n - 1
		}
		if ref = r.ref(t, i); !t.inner() {
			return r.Leaf(ref)
		}
	}
}

// Explain repeats Find with full validation and returns the first corruption on the path
// as a region.CorruptError, or nil. Call it after Find returned Damaged. The tree must
// not change meanwhile.
func (r Reader) Explain(root node.Ref, key []byte) error {
	if root == 0 {
		return nil
	}
	var p path
	_, err := r.seek(root, key, &p)
	return err
}
