package hamt

import "github.com/seed-869cc763/shmkv/node"

// The three functions below change a branch or a collision at off: a head and n
// references. They return the offset of the changed node. That is off, or a new
// node if the node at off must not change or the new size needs another block.

// withChanged replaces the i-th reference.
func (t *Tx) withChanged(off, n, i uint64, ref node.Ref) (uint64, error) {
	dst := off
	if !t.mayChange(off, nodeSize(n)) {
		var err error
		if dst, err = t.newNode(n); err != nil {
			return 0, err
		}
		t.copyWords(dst+node.HeadOff, off+node.HeadOff, 1+n)
	}
	t.r.Mem.SetWord(dst+node.HeaderSize+node.WordSize*i, uint64(ref))
	return dst, nil
}

// withInserted makes ref the i-th reference.
func (t *Tx) withInserted(off, n, i, head uint64, ref node.Ref) (uint64, error) {
	dst, err := t.resized(off, n, n+1)
	if err != nil {
		return 0, err
	}
	at := node.HeaderSize + node.WordSize*i
	if dst == off {
		// The ranges overlap, so copy from the end.
		for o := off + nodeSize(n); o > off+at; o -= node.WordSize {
			t.r.Mem.SetWord(o, t.r.Mem.Word(o-node.WordSize))
		}
	} else {
		t.copyWords(dst+node.HeaderSize, off+node.HeaderSize, i)
		t.copyWords(dst+at+node.WordSize, off+at, n-i)
	}
	t.r.Mem.SetWord(dst+at, uint64(ref))
	t.r.Mem.SetWord(dst+node.HeadOff, head)
	return dst, nil
}

// withRemoved removes the i-th reference.
func (t *Tx) withRemoved(off, n, i, head uint64) (uint64, error) {
	dst, err := t.resized(off, n, n-1)
	if err != nil {
		return 0, err
	}
	at := node.HeaderSize + node.WordSize*i
	if dst != off {
		t.copyWords(dst+node.HeaderSize, off+node.HeaderSize, i)
	}
	t.copyWords(dst+at, off+at+node.WordSize, n-1-i)
	t.r.Mem.SetWord(dst+node.HeadOff, head)
	return dst, nil
}

// resized returns off if the node there can change from n to m references in
// place. Otherwise it returns a new node. Damage can make any block look like
// the transaction's own, so resized also checks the new size against the region's end.
func (t *Tx) resized(off, n, m uint64) (uint64, error) {
	if t.mayChange(off, nodeSize(n)) && off+nodeSize(m) <= t.r.End &&
		t.alloc.BlockSize(nodeSize(n)) == t.alloc.BlockSize(nodeSize(m)) {
		return off, nil
	}
	return t.newNode(m)
}

// copyWords copies n words. The ranges may overlap if dst is below src.
func (t *Tx) copyWords(dst, src, n uint64) {
	t.r.Mem.Copy(dst, src, n*node.WordSize)
}

// newBranch allocates a branch with the given children.
func (t *Tx) newBranch(bitmap uint64, refs ...node.Ref) (node.Ref, error) {
	off, err := t.newNode(uint64(len(refs)))
	if err != nil {
		return 0, err
	}
	b := branch{off: off, bitmap: bitmap}
	t.r.Mem.SetWord(off+node.HeadOff, bitmap)
	for i, ref := range refs {
		t.r.Mem.SetWord(b.refOff(uint64(i)), uint64(ref))
	}
	return node.MakeRef(node.KindBranch, off, 0), nil
}

// newNode allocates a branch or collision of n references and notes it for undo.
func (t *Tx) newNode(n uint64) (uint64, error) {
	size := nodeSize(n)
	off, err := t.r.Allocate(t.alloc, size)
	if err != nil {
		return 0, err
	}
	t.fresh[t.nfresh] = node.Block{Off: off, Size: size}
	t.nfresh++
	return off, nil
}

// undo discards the nodes that newNode and copyLeaf noted in the current call.
func (t *Tx) undo() {
	for _, b := range t.fresh[:t.nfresh] {
		t.alloc.Discard(b.Off, b.Size)
	}
	t.nfresh = 0
}

// mayChange reports whether the transaction may change the node at off in place:
// the node is its own and not frozen (I6).
func (t *Tx) mayChange(off, size uint64) bool {
	return t.alloc.Mine(off, size) && !t.frozen(off)
}

// frozen reports whether a running Walk must find the own node at off unchanged.
func (t *Tx) frozen(off uint64) bool {
	return t.frozenBelow != 0 && t.alloc.Age(off) < t.frozenBelow
}

// drop retires or discards a node that the trie no longer reaches. It defers the
// discard of a frozen node to Finish.
func (t *Tx) drop(off, size uint64) {
	switch {
	case !t.alloc.Mine(off, size):
		t.alloc.Retire(off, size)
	case t.frozen(off):
		t.pending = append(t.pending, node.Block{Off: off, Size: size})
	default:
		t.alloc.Discard(off, size)
	}
}

// dropLeaf is drop for a leaf. With KeepLeaves it defers the discard of an own
// leaf to Finish.
func (t *Tx) dropLeaf(l node.Leaf) {
	if t.KeepLeaves && t.alloc.Mine(l.Off, l.Size()) {
		t.pending = append(t.pending, node.Block{Off: l.Off, Size: l.Size()})
		return
	}
	t.drop(l.Off, l.Size())
}
