package hamt

import "github.com/seed-869cc763/shmkv/node"

// Leads appends to hs the hashes of up to three leaves that may be at or below a node
// at off, in a block of size bytes. The block may hold anything: it is taken for each
// kind of node that fits its size. The caller guards itself against holes in the file,
// to which garbage may refer.
func (t *Tx) Leads(hs []uint64, off, size uint64) []uint64 {
	for _, kind := range [...]node.Ref{node.KindLeaf, node.KindBranch, node.KindCollision} {
		if h, ok := t.hashBelow(kind|node.Ref(off&node.OffMask), size); ok {
			hs = append(hs, h)
		}
	}
	return hs
}

// Move copies the node at off, on the way of one of the hashes that Leads found, to a
// new block and retires the old one. The entries stay as they are; the branches above
// are copied as in any change. It reports false, and has done nothing, if the trie
// has no node there: nothing but its place in the trie makes a block a node. Of a leaf
// it returns what it was. The transaction must not have changed anything yet.
func (t *Tx) Move(off uint64, hs []uint64) (moved bool, leaf node.Leaf, err error) {
	for _, h := range hs {
		t.nfresh, t.copied = 0, 0
		if moved, leaf, err = t.move(h, off); err != nil {
			t.undo()
			return false, node.Leaf{}, err
		}
		if moved {
			t.made = t.alloc.LogLen()
			return true, leaf, nil
		}
	}
	return false, node.Leaf{}, nil
}

// hashBelow returns the hash of a leaf at or below what ref may refer to. It
// believes nothing but that the block is as large as the node says.
func (t *Tx) hashBelow(ref node.Ref, size uint64) (h uint64, ok bool) {
	fits := func(n uint64) bool { return n <= size && t.alloc.BlockSize(n) == size }
	for depth := 0; depth <= maxDepth; depth++ {
		switch ref.Kind() {
		case node.KindBranch:
			b, err := t.r.branch(ref, 0)
			if err != nil || depth == 0 && !fits(b.size()) {
				return 0, false
			}
			ref = b.ref(t.r, 0)
		case node.KindCollision:
			c, err := t.r.collision(ref)
			if err != nil || depth == 0 && !fits(c.size()) {
				return 0, false
			}
			ref = c.ref(t.r, 0)
		case node.KindLeaf:
			l, err := t.r.Leaf(ref)
			if err != nil || depth == 0 && !fits(l.Size()) {
				return 0, false
			}
			return t.hash(t.r.Mem.AppendTo(nil, l.KeyOff(), uint64(l.KeyLen))), true
		default:
			return 0, false
		}
	}
	return 0, false
}

// move copies the node at off if it is on the way of h.
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
		t.drop(old.Off, old.Size())
		return true, old, nil
	case at.Kind() == node.KindCollision:
		return t.moveCollision(depth, h, at, off)
	}
	return false, node.Leaf{}, nil
}

// moveCollision is move where h leads to the collision node at.
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
		t.drop(old.Off, old.Size())
		return true, old, nil
	}
	return false, node.Leaf{}, nil
}

// copyLeaf copies the leaf at ref, and returns what it was and a reference to the
// copy.
func (t *Tx) copyLeaf(at node.Ref) (old node.Leaf, ref node.Ref, err error) {
	if old, err = t.r.Leaf(at); err != nil {
		return node.Leaf{}, 0, err
	}
	l, err := t.r.CopyLeaf(t.alloc, old)
	if err != nil {
		return node.Leaf{}, 0, err
	}
	t.fresh[t.nfresh] = node.Block{Off: l.Off, Size: l.Size()}
	t.nfresh++
	return old, at&^node.OffMask | node.Ref(l.Off), nil
}
