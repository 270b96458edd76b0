package hamt

import "github.com/seed-869cc763/shmkv/node"

// Leads appends to ls up to three leaves that may be at or below the block of size bytes
// at off. The block may contain garbage. Leads interprets it as each kind of node that
// fits its size. Garbage may refer to holes in the file, so the caller must handle faults.
func (t *Tx) Leads(ls []node.Leaf, off, size uint64) []node.Leaf {
	for _, kind := range [...]node.Ref{node.KindLeaf, node.KindBranch, node.KindCollision} {
		if l, ok := t.leafBelow(kind|node.Ref(off&node.OffMask), size); ok {
			ls = append(ls, l)
		}
	}
	return ls
}

// Move copies the node at off to a new block and retires the old one. The node must
// be on the path of key, whose hash is h and which is that of a leaf that Leads returned.
// Move copies the branches above as any change does. The entries stay the same.
//
// Move reports false and does nothing if the trie has no node at off on this path.
// If the node is a leaf, Move returns the old leaf. After an error the transaction is
// unchanged. The trie must not have been changed before Move.
func (t *Tx) Move(off, h uint64) (moved bool, leaf node.Leaf, err error) {
	t.BeginChange()
	t.copied = 0
	if moved, leaf, err = t.move(h, off); err != nil {
		t.Undo()
		return false, node.Leaf{}, err
	}
	t.made = t.Alloc.LogLen()
	return moved, leaf, nil
}

// leafBelow returns a leaf at or below ref, which may refer to garbage. It reports false
// if the node at ref does not fit a block of size bytes, or if it finds no leaf.
func (t *Tx) leafBelow(ref node.Ref, size uint64) (l node.Leaf, ok bool) {
	fits := func(n uint64) bool { return n <= size && t.Alloc.BlockSize(n) == size }
	for depth := 0; depth <= maxDepth; depth++ {
		switch ref.Kind() {
		case node.KindBranch:
			b, err := t.r.branch(ref, 0)
			if err != nil || depth == 0 && !fits(b.size()) {
				return l, false
			}
			ref = b.ref(t.r, 0)
		case node.KindCollision:
			c, err := t.r.collision(ref)
			if err != nil || depth == 0 && !fits(c.size()) {
				return l, false
			}
			ref = c.ref(t.r, 0)
		case node.KindLeaf:
			l, err := t.r.Leaf(ref)
			return l, err == nil && (depth > 0 || fits(l.Size()))
		default:
			return l, false
		}
	}
	return l, false
}

// move copies the node at off if it is on the path of h.
func (t *Tx) move(h, off uint64) (moved bool, leaf node.Leaf, err error) {
	at, depth, err := t.descend(h)
	if err != nil {
		return false, node.Leaf{}, err
	}
	for d, b := range t.path[:depth] {
		if b.off == off {
			i, taken := b.index(h, d)
			if !taken {
				return false, node.Leaf{}, nil
			}
			return true, node.Leaf{}, t.link(d+1, d+1, h, b.ref(t.r, i))
		}
	}
	switch {
	case at.Kind() == node.KindLeaf && at.Off() == off:
		old, ref, err := t.copyLeaf(at)
		if err == nil {
			err = t.link(depth, depth, h, ref)
		}
		if err != nil {
			return false, node.Leaf{}, err
		}
		t.Drop(old.Off, old.Size())
		return true, old, nil
	case at.Kind() == node.KindCollision:
		return t.moveCollision(depth, h, at, off)
	}
	return false, node.Leaf{}, nil
}

// moveCollision does the work of move if h leads to the collision node at.
func (t *Tx) moveCollision(depth int, h uint64, at node.Ref, off uint64) (moved bool, leaf node.Leaf, err error) {
	c, err := t.r.collision(at)
	if err != nil {
		return false, node.Leaf{}, err
	}
	if c.off == off {
		dst, err := t.newNode(c.count)
		if err != nil {
			return false, node.Leaf{}, err
		}
		t.copyWords(dst+node.HeadOff, c.off+node.HeadOff, 1+c.count)
		return true, node.Leaf{}, t.replaceCollision(depth, h, c, node.MakeRef(node.KindCollision, dst, h))
	}
	for i := range c.count {
		at := c.ref(t.r, i)
		if at.Off() != off {
			continue
		}
		old, ref, err := t.copyLeaf(at)
		if err != nil {
			return false, node.Leaf{}, err
		}
		dst, err := t.withChanged(c.off, c.count, i, ref)
		if err == nil {
			err = t.replaceCollision(depth, h, c, node.MakeRef(node.KindCollision, dst, h))
		}
		if err != nil {
			return false, node.Leaf{}, err
		}
		t.Drop(old.Off, old.Size())
		return true, old, nil
	}
	return false, node.Leaf{}, nil
}

// copyLeaf copies the leaf at at. It returns the old leaf and a reference to the copy.
func (t *Tx) copyLeaf(at node.Ref) (old node.Leaf, ref node.Ref, err error) {
	if old, err = t.r.Leaf(at); err != nil {
		return node.Leaf{}, 0, err
	}
	l, err := t.r.CopyLeaf(t.Alloc, old)
	if err != nil {
		return node.Leaf{}, 0, err
	}
	t.Note(l.Off, l.Size())
	return old, at&^node.OffMask | node.Ref(l.Off), nil
}
