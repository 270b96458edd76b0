package btree

import "github.com/seed-869cc763/shmkv/node"

// A change goes up the path from its bottom node. Each level either links the child that
// the level below has made (relink), or is made anew as one node, two or none (rebuild).
// All blocks are allocated before a node is changed in place (I8). A node above one that
// may be changed in place may be too, so that change is the last step, with those of the
// counts above.

// relink makes ref the child of the path's node of depth d, and adds delta to the counts
// from there up.
func (t *Tx) relink(d int, ref node.Ref, delta int64) error {
	linked := false
	for ; d >= 0; d-- {
		s := t.path.at[d]
		off := s.off
		if !t.MayChange(off, s.size()) {
			if linked {
				return node.Corrupt(off, "node of an ordered tree", "an own node above an own one", "another's")
			}
			var err error
			if off, err = t.newNode(s.size()); err != nil {
				return err
			}
			t.r.Mem.Copy(off+node.HeadOff, s.off+node.HeadOff, s.size()-node.HeadOff)
			t.replace(s.tnode)
		}
		at := tnode{off, s.n, s.skip, s.width}
		if !linked {
			t.r.Mem.SetWord(at.refOff(s.i), uint64(ref|t.r.ref(s.tnode, s.i)&node.Tied))
			linked = off == s.off
			ref = at.asRef()
		}
		if s.inner() && delta != 0 {
			t.r.Mem.SetWord(at.countOff(s.i), t.r.count(s.tnode, s.i)+uint64(delta))
		}
		if linked && delta == 0 {
			return nil
		}
	}
	if !linked {
		t.Root = ref
	}
	return nil
}

// insert adds the leaf of ref at the end of the path, which is the path of key.
func (t *Tx) insert(ref node.Ref, key []byte) error {
	d := t.path.depth - 1
	s := t.path.at[d]
	if s.n == maxBottom || t.path.lowest < maxDepth {
		a, err := t.load(d)
		if err != nil {
			return err
		}
		a.insert(s.i, headOf(key, a.skip), ref, 1)
		return t.rebuild(d, a, false)
	}
	off, err := t.withInserted(s.tnode, s.i, headOf(key, s.skip), ref)
	if err != nil {
		return err
	}
	return t.resized(d, off, s.n+1, 1)
}

// remove removes the leaf at the end of the path.
func (t *Tx) remove() error {
	d := t.path.depth - 1
	s := t.path.at[d]
	if s.n == 1 || s.n <= maxBottom/4 && d > 0 {
		a, err := t.load(d)
		if err != nil {
			return err
		}
		a.remove(s.i)
		return t.rebuild(d, a, true)
	}
	off, err := t.withRemoved(s.tnode, s.i)
	if err != nil {
		return err
	}
	return t.resized(d, off, s.n-1, -1)
}

// resized links the bottom node at off, which has n children now, in place of that of the
// path.
func (t *Tx) resized(d int, off, n uint64, delta int64) error {
	s := t.path.at[d]
	if off != s.off {
		t.replace(s.tnode)
	}
	if d == 0 {
		t.Root = node.MakeRef(node.KindBottom, off, 0)
		return nil
	}
	return t.relink(d-1, node.MakeRef(node.KindBottom, off, 0), delta)
}

// made is what a level passes to the one above: up to two nodes, in order.
type made struct {
	n      int
	refs   [2]node.Ref
	counts [2]uint64
	// With two nodes, the greatest leaf below the first and the least one below the
	// second.
	left, right node.Leaf
}

// rebuild makes the draft a, in place of the path's node of depth d, and changes the
// nodes above. shrunk says that a may have too few children.
func (t *Tx) rebuild(d int, a *draft, shrunk bool) error {
	for {
		if d <= 0 {
			return t.setRoot(d, a)
		}
		i, take := t.path.at[d-1].i, uint64(1)
		if shrunk && a.n < mostOf(a.inner)/4 && a.n > 0 {
			var err error
			if a, i, take, err = t.join(d, a); err != nil {
				return err
			}
		}
		m, err := t.write(a, !shrunk && t.atRightEdge(d))
		if err != nil {
			return err
		}
		d--
		s := t.path.at[d]
		if m.n == 1 && take == 1 && d < t.path.lowest {
			ref := m.refs[0]
			return t.relink(d, ref, int64(m.counts[0]-t.r.count(s.tnode, i)))
		}
		if a, err = t.load(d); err != nil {
			return err
		}
		a.splice(i, take, m)
		if m.n == 2 {
			a.separate(t.r, i+1, m.left, m.right)
		}
		shrunk = shrunk && m.n < int(take)
	}
}

// setRoot makes the draft a the root.
func (t *Tx) setRoot(d int, a *draft) error {
	for {
		switch {
		case a.n == 0:
			t.Root = 0
			return nil
		case a.n == 1 && a.inner:
			return t.contract(a.refs[0] &^ node.Tied)
		}
		m, err := t.write(a, d == 0 && t.atRightEdge(d))
		if err != nil {
			return err
		}
		if m.n == 1 {
			t.Root = m.refs[0]
			return nil
		}
		a = t.draft[0].reset(true, 0)
		a.splice(0, 0, m)
		a.separate(t.r, 1, m.left, m.right)
	}
}

// contract makes ref the root, or the node below it that has more than one child.
func (t *Tx) contract(ref node.Ref) error {
	for depth := 0; ; depth++ {
		n, err := t.r.node(ref, depth)
		if err != nil {
			return err
		}
		if !n.inner() || n.n > 1 {
			t.Root = ref
			return nil
		}
		t.replace(n)
		ref = t.r.ref(n, 0) &^ node.Tied
	}
}

// join joins the draft a, which is to replace the path's node of depth d and has too few
// children, with a neighbour of that node. It returns a draft of both, which replaces take
// nodes from index i of the node above on.
func (t *Tx) join(d int, a *draft) (both *draft, i, take uint64, err error) {
	s := t.path.at[d-1]
	if s.n == 1 {
		return a, s.i, 1, nil // on the right edge of the tree
	}
	i = s.i
	first := i+1 == s.n // there is no neighbour behind it
	if first {
		i--
	}
	at := s.i + 1
	if first {
		at = i
	}
	n, err := t.r.node(t.r.ref(s.tnode, at), d)
	if err != nil {
		return nil, 0, 0, err
	}
	b := t.draft[1].reset(n.inner(), n.skip)
	if b.inner != a.inner {
		return nil, 0, 0, node.Corrupt(n.off, "node of an ordered tree", "nodes of one depth of one kind", "two kinds")
	}
	b.add(t.r, n)
	t.replace(n)
	if first {
		a, b = b, a
	}
	return a, i, 2, a.concat(t.r, b)
}

// atRightEdge reports whether nothing in the tree is behind the path's place, down to
// depth d.
func (t *Tx) atRightEdge(d int) bool {
	for _, s := range t.path.at[:d] {
		if s.i+1 < s.n {
			return false
		}
	}
	s := t.path.at[d]
	return s.inner() && s.i+1 == s.n || !s.inner() && s.i == s.n
}

// replace notes that the change replaces a node.
func (t *Tx) replace(n tnode) {
	t.replaced = append(t.replaced, node.Block{Off: n.off, Size: n.size()})
}

// load returns a draft of the path's node of depth d, which the change replaces. The
// draft skips only what the node's keys have in common with the key of the change.
func (t *Tx) load(d int) (*draft, error) {
	s := t.path.at[d]
	a := t.draft[0].reset(s.inner(), s.skip)
	a.add(t.r, s.tnode)
	t.replace(s.tnode)
	if d < t.path.lowest || s.skip <= t.path.same {
		return a, nil
	}
	b := t.path.bottom()
	l, err := t.r.Leaf(t.r.ref(b.tnode, min(b.i, b.n-1)))
	if err == nil {
		a.lower(t.r, t.path.same&^(skipStep-1), l)
	}
	return a, err
}

func (t tnode) asRef() node.Ref {
	if t.inner() {
		return node.MakeRef(node.KindInner, t.off, 0)
	}
	return node.MakeRef(node.KindBottom, t.off, 0)
}
