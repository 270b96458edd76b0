package hamt

import "github.com/seed-869cc763/shmkv/node"

// collide replaces the leaf a by a new collision node of a and b.
func (t *Tx) collide(depth int, h uint64, a node.Ref, aLeaf node.Leaf, b node.Ref, bLeaf node.Leaf) error {
	if t.r.CompareKey(aLeaf, t.r.Key(bLeaf)) > 0 {
		a, b = b, a
	}
	off, err := t.newNode(2)
	if err != nil {
		return err
	}
	c := collision{off: off, count: 2}
	t.r.Mem.SetWord(off+node.HeadOff, 2)
	t.r.Mem.SetWord(c.refOff(0), uint64(a))
	t.r.Mem.SetWord(c.refOff(1), uint64(b))
	return t.link(depth, depth, h, node.MakeRef(node.KindCollision, off, h))
}

// setCollision does the work of setLeaf if h leads to the collision node at.
func (t *Tx) setCollision(depth int, h uint64, at, ref node.Ref, leaf node.Leaf) (old node.Leaf, did node.Effect, err error) {
	c, err := t.r.collision(at)
	if err != nil {
		return node.Leaf{}, node.Unchanged, err
	}
	first, err := t.r.Leaf(c.ref(t.r, 0))
	if err != nil {
		return node.Leaf{}, node.Unchanged, err
	}
	if g := t.hashOf(first); g != h {
		return node.Leaf{}, node.Inserted, t.part(depth, h, ref, g, at)
	}
	i, old, existed, err := t.r.search(c, t.r.Key(leaf))
	if err != nil {
		return node.Leaf{}, node.Unchanged, err
	}
	var off uint64
	switch {
	case existed && t.sameValue(old, leaf):
		return old, node.Unchanged, nil
	case existed:
		did = node.Replaced
		off, err = t.withChanged(c.off, c.count, i, ref)
	default:
		did = node.Inserted
		off, err = t.withInserted(c.off, c.count, i, c.count+1, ref)
	}
	if err != nil {
		return node.Leaf{}, node.Unchanged, err
	}
	return old, did, t.replaceCollision(depth, h, c, node.MakeRef(node.KindCollision, off, h))
}

// deleteCollision does the work of delete if h leads to the collision node at.
func (t *Tx) deleteCollision(depth int, h uint64, at node.Ref, key []byte) (old node.Leaf, existed bool, err error) {
	c, err := t.r.collision(at)
	if err != nil {
		return node.Leaf{}, false, err
	}
	i, old, existed, err := t.r.search(c, key)
	if err != nil || !existed {
		return node.Leaf{}, false, err
	}
	var ref node.Ref
	if c.count == 2 {
		ref = c.ref(t.r, 1-i)
		if ref.Kind() != node.KindLeaf {
			return node.Leaf{}, false, node.Corrupt(c.off, "collision", "a leaf", "%v", ref)
		}
	} else {
		off, err := t.withRemoved(c.off, c.count, i, c.count-1)
		if err != nil {
			return node.Leaf{}, false, err
		}
		ref = node.MakeRef(node.KindCollision, off, h)
	}
	return old, true, t.replaceCollision(depth, h, c, ref)
}

// replaceCollision replaces the collision node c by ref, which may refer to c itself.
func (t *Tx) replaceCollision(depth int, h uint64, c collision, ref node.Ref) error {
	if ref.Off() == c.off {
		return nil
	}
	if err := t.link(depth, depth, h, ref); err != nil {
		return err
	}
	t.Drop(c.off, c.size())
	return nil
}
