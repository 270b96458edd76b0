package btree

import "github.com/seed-869cc763/shmkv/node"

// LeafBelow returns the first leaf at or below the block of size bytes at off, if the block
// is a node of an ordered tree. The block may contain garbage, which may refer to holes in
// the file, so the caller must handle faults.
func (t *Tx) LeafBelow(off, size uint64) (node.Leaf, bool) {
	for _, kind := range [...]node.Ref{node.KindBottom, node.KindInner} {
		n, ok := t.r.open(node.MakeRef(kind, off&node.OffMask, 0))
		if !ok || n.size() > size || t.Alloc.BlockSize(n.size()) != size {
			continue
		}
		if l, err := t.r.edge(n.asRef(), 0, false); err == nil {
			return l, true
		}
	}
	return node.Leaf{}, false
}

// Move copies the node at off to a new block and retires the old one. The node must be on
// the path of key: it is one of the nodes above the leaf of key, or the leaf. Move copies
// the nodes above as any change does. The entries stay the same.
//
// Move reports false and does nothing if the path has no node at off. If the node is a
// leaf, Move returns the old leaf. After an error the transaction is unchanged. The
// transaction must not contain changes before Move.
func (t *Tx) Move(off uint64, key []byte) (moved bool, leaf node.Leaf, err error) {
	t.beginChange()
	if moved, leaf, err = t.move(off, key); err != nil {
		t.Undo()
		return false, node.Leaf{}, err
	}
	t.dropReplaced()
	if leaf != (node.Leaf{}) {
		t.Drop(leaf.Off, leaf.Size())
	}
	return moved, leaf, nil
}

func (t *Tx) move(off uint64, key []byte) (moved bool, leaf node.Leaf, err error) {
	if t.Root == 0 {
		return false, node.Leaf{}, nil
	}
	found, err := t.r.seek(t.Root, key, &t.path)
	if err != nil {
		return false, node.Leaf{}, err
	}
	for d, s := range t.path.at[:t.path.depth] {
		if s.off == off {
			return true, node.Leaf{}, t.relinkFrom(d)
		}
	}
	b := t.path.bottom()
	if !found {
		return false, node.Leaf{}, nil
	}
	ref := t.r.ref(b.tnode, b.i)
	if ref.Off() != off {
		return false, node.Leaf{}, nil
	}
	old, err := t.r.Leaf(ref)
	if err != nil {
		return false, node.Leaf{}, err
	}
	l, err := t.r.CopyLeaf(t.Alloc, old)
	if err != nil {
		return false, node.Leaf{}, err
	}
	t.Note(l.Off, l.Size())
	return true, old, t.relink(t.path.depth-1, node.MakeRef(node.KindLeaf, l.Off, 0), 0)
}

// relinkFrom copies the path's node of depth d and those above it.
func (t *Tx) relinkFrom(d int) error {
	s := &t.path.at[d]
	s.i = min(s.i, s.n-1)
	return t.relink(d, t.r.ref(s.tnode, s.i)&^node.Tied, 0)
}
