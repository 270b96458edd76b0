package hamt

// collide puts a new collision node in the place of the leaf a, for it and b.
func (t *Tx) collide(depth int, h uint64, a Ref, aLeaf Leaf, b Ref, bLeaf Leaf) error {
	if t.r.compareKey(aLeaf, t.r.Key(bLeaf)) > 0 {
		a, b = b, a
	}
	off, err := t.newNode(2)
	if err != nil {
		return err
	}
	c := collision{off: off, count: 2}
	t.r.mem.SetWord(off+headOff, 2)
	t.r.mem.SetWord(c.refOff(0), uint64(a))
	t.r.mem.SetWord(c.refOff(1), uint64(b))
	return t.link(depth, depth, h, makeRef(kindCollision, off, h))
}

// setCollision is setLeaf where h leads to the collision node at.
func (t *Tx) setCollision(depth int, h uint64, at, ref Ref, leaf Leaf) (old Leaf, existed bool, err error) {
	c, err := t.r.collision(at)
	if err != nil {
		return Leaf{}, false, err
	}
	first, err := t.r.leaf(c.ref(t.r, 0))
	if err != nil {
		return Leaf{}, false, err
	}
	if g := t.hashOf(first); g != h {
		return Leaf{}, false, t.part(depth, h, ref, g, at)
	}
	i, old, existed, err := t.r.search(c, t.r.Key(leaf))
	if err != nil {
		return Leaf{}, false, err
	}
	var off uint64
	if existed {
		off, err = t.withChanged(c.off, c.count, i, ref)
	} else {
		off, err = t.withInserted(c.off, c.count, i, c.count+1, ref)
	}
	if err != nil {
		return Leaf{}, false, err
	}
	return old, existed, t.replaceCollision(depth, h, c, makeRef(kindCollision, off, h))
}

// deleteCollision is delete where h leads to the collision node at.
func (t *Tx) deleteCollision(depth int, h uint64, at Ref, key []byte) (old Leaf, existed bool, err error) {
	c, err := t.r.collision(at)
	if err != nil {
		return Leaf{}, false, err
	}
	i, old, existed, err := t.r.search(c, key)
	if err != nil || !existed {
		return Leaf{}, false, err
	}
	var ref Ref
	if c.count == 2 {
		ref = c.ref(t.r, 1-i)
		if ref.kind() != kindLeaf {
			return Leaf{}, false, corrupt(c.off, "collision", "a leaf", "%v", ref)
		}
	} else {
		off, err := t.withRemoved(c.off, c.count, i, c.count-1)
		if err != nil {
			return Leaf{}, false, err
		}
		ref = makeRef(kindCollision, off, h)
	}
	return old, true, t.replaceCollision(depth, h, c, ref)
}

// replaceCollision puts ref, which may be c itself, in the place of c.
func (t *Tx) replaceCollision(depth int, h uint64, c collision, ref Ref) error {
	if ref.Off() == c.off {
		return nil
	}
	if err := t.link(depth, depth, h, ref); err != nil {
		return err
	}
	t.drop(c.off, c.size())
	return nil
}
