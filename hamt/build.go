package hamt

import "github.com/seed-869cc763/shmkv/node"

// The three functions below change a branch or a collision at off: a head and n
// references. They return the offset of the changed node. That is off, or a new
// node if the node at off must not change or the new size needs another block.

// withChanged replaces the i-th reference.
func (t *Tx) withChanged(off, n, i uint64, ref node.Ref) (uint64, error) {
	dst := off
	if !t.MayChange(off, nodeSize(n)) {
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
	if t.MayChange(off, nodeSize(n)) && off+nodeSize(m) <= t.r.End &&
		t.Alloc.BlockSize(nodeSize(n)) == t.Alloc.BlockSize(nodeSize(m)) {
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
	off, err := t.r.Allocate(t.Alloc, size)
	if err != nil {
		return 0, err
	}
	t.Note(off, size)
	return off, nil
}
