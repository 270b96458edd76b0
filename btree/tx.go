package btree

import "github.com/seed-869cc763/shmkv/node"

// A Tx builds a new tree from a published one. The two share the nodes that do not
// change. A Tx changes its own nodes in place (I6), so a batch copies each path once.
//
// Set, SetLeaf and Delete either succeed or leave the Tx unchanged, with nothing
// allocated (I8). A change reads and copies at most three nodes for each level. One
// goroutine at a time may use a Tx. A Tx contains its scratch space, so reuse it with
// Reset.
type Tx struct {
	node.Tree // as it is now

	node.Edit
	r Reader

	path     path
	replaced []node.Block // nodes that the current change has replaced
	draft    [2]draft

	added, dropped []node.Leaf // by the current changes of ChangeMany
}

// Reset starts a transaction on a tree. r reads the tree, and its region must be writable.
//
// A transaction may change several trees, one at a time: the caller keeps the Tree and
// the Extra of each, and sets these fields before it goes on with one.
func (t *Tx) Reset(r Reader, a node.Allocator, tree node.Tree) {
	t.Tree = tree
	t.Begin(a)
	t.r = r
}

// Reader returns a Reader for lookups in the tree at t.Root. It does not cover blocks
// that later calls allocate, so get a new one after each change.
func (t *Tx) Reader() Reader { return t.r }

// Set sets the value of key. It returns the leaf that the key had before, or the zero
// Leaf. This leaf is still readable if it was published, if KeepLeaves is set, or if the
// effect is Unchanged. Set copies key and value.
//
// Set returns node.ErrTooLarge for a key or value beyond the limits, a
// region.CorruptError for a damaged tree, and the errors of Alloc.
func (t *Tx) Set(key, value []byte) (old node.Leaf, did node.Effect, err error) {
	leaf, err := t.NewLeaf(key, value)
	if err != nil {
		return node.Leaf{}, node.Unchanged, err
	}
	if old, did, err = t.SetLeaf(leaf); err != nil {
		t.Alloc.Discard(leaf.Off, leaf.Size())
	}
	return old, did, err
}

// NewLeaf allocates a leaf that no tree refers to yet and copies key and value into it.
// NewLeaf followed by SetLeaf equals Set. A writer that loses its compare-and-swap can
// keep the leaf, which may be large, and repeat SetLeaf only.
func (t *Tx) NewLeaf(key, value []byte) (node.Leaf, error) {
	return t.r.NewLeaf(t.Alloc, key, value, t.Extra)
}

// SetLeaf makes leaf the entry of its key. leaf must be the transaction's own, and the
// tree must not refer to it yet. SetLeaf returns the same results as Set. It takes
// ownership of leaf unless it returns an error.
func (t *Tx) SetLeaf(leaf node.Leaf) (old node.Leaf, did node.Effect, err error) {
	t.beginChange()
	if old, did, err = t.setLeaf(leaf); err != nil {
		t.Undo()
		return node.Leaf{}, node.Unchanged, err
	}
	t.dropReplaced()
	switch did {
	case node.Unchanged:
		t.DropLeaf(leaf)
		return old, did, nil
	case node.Replaced:
		t.Tree.Remove(t.r.Reader, old)
		t.DropLeaf(old)
	}
	t.Add(t.r.Reader, leaf)
	return old, did, nil
}

func (t *Tx) setLeaf(leaf node.Leaf) (old node.Leaf, did node.Effect, err error) {
	ref, key := node.MakeRef(node.KindLeaf, leaf.Off, 0), t.r.Key(leaf)
	if t.Root == 0 {
		d := t.draft[0].reset(false, 0)
		d.insert(0, headOf(key, 0), ref, 1)
		return node.Leaf{}, node.Inserted, t.rebuild(-1, d, false)
	}
	found, err := t.r.seek(t.Root, key, &t.path)
	if err != nil {
		return node.Leaf{}, node.Unchanged, err
	}
	if !found {
		return node.Leaf{}, node.Inserted, t.insert(ref, key)
	}
	b := t.path.bottom()
	if old, err = t.r.Leaf(t.r.ref(b.tnode, b.i)); err != nil {
		return node.Leaf{}, node.Unchanged, err
	}
	if t.sameValue(old, leaf) {
		return old, node.Unchanged, nil
	}
	return old, node.Replaced, t.relink(t.path.depth-1, ref, 0)
}

// sameValue reports whether the values of l and own are equal. own must be the
// transaction's own leaf.
func (t *Tx) sameValue(l, own node.Leaf) bool {
	return l.ValueLen() == own.ValueLen() && t.r.Mem.Equal(l.ValueOff(), t.r.Value(own))
}

// Delete removes the entry of key. It returns the leaf of the entry, which is readable
// under the same conditions as the leaf that Set returns. If there is no such entry,
// Delete reports false and changes nothing. Its errors are those of Set without
// node.ErrTooLarge.
func (t *Tx) Delete(key []byte) (old node.Leaf, existed bool, err error) {
	t.beginChange()
	if old, existed, err = t.delete(key); err != nil {
		t.Undo()
		return node.Leaf{}, false, err
	}
	if existed {
		t.dropReplaced()
		t.Tree.Remove(t.r.Reader, old)
		t.DropLeaf(old)
	}
	return old, existed, nil
}

func (t *Tx) delete(key []byte) (old node.Leaf, existed bool, err error) {
	if t.Root == 0 {
		return node.Leaf{}, false, nil
	}
	found, err := t.r.seek(t.Root, key, &t.path)
	if err != nil || !found {
		return node.Leaf{}, false, err
	}
	b := t.path.bottom()
	if old, err = t.r.Leaf(t.r.ref(b.tnode, b.i)); err != nil {
		return node.Leaf{}, false, err
	}
	return old, true, t.remove()
}

func (t *Tx) beginChange() {
	t.BeginChange()
	t.replaced = t.replaced[:0]
}

// dropReplaced drops the nodes that the change has replaced, once nothing can fail any
// more.
func (t *Tx) dropReplaced() {
	for _, b := range t.replaced {
		t.Drop(b.Off, b.Size)
	}
}
