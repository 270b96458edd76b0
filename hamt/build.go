package hamt

import "github.com/seed-869cc763/shmkv/node"

// The three functions below serve branches and collisions alike: both are a
// head and n references. They return the offset of a node with the change made:
// off itself, or a new one if the node at off must not change or its block is
// of another size.

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
		// Upwards within one node: from the end.
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

// resized returns off if the node there, of n references, can become one of m
// in place, or a new node. The node may be an own one by damage only, so its
// block is not believed to reach beyond the end.
func (t *Tx) resized(off, n, m uint64) (uint64, error) {
	if t.mayChange(off, nodeSize(n)) && off+nodeSize(m) <= t.r.End &&
		t.alloc.BlockSize(nodeSize(n)) == t.alloc.BlockSize(nodeSize(m)) {
		return off, nil
	}
	return t.newNode(m)
}

// copyWords copies n words, and downwards also within one node.
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

// newNode allocates a branch or collision of n references, and remembers it
// for undo.
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

// undo discards what the current call has allocated.
func (t *Tx) undo() {
	for _, b := range t.fresh[:t.nfresh] {
		t.alloc.Discard(b.Off, b.Size)
	}
	t.nfresh = 0
}

// mayChange reports whether the node at off is the transaction's own and no
// Walk is to find it unchanged (I6).
func (t *Tx) mayChange(off, size uint64) bool {
	return t.alloc.Mine(off, size) && !t.frozen(off)
}

// frozen reports whether a Walk is to find the own node at off unchanged.
func (t *Tx) frozen(off uint64) bool {
	return t.frozenBelow != 0 && t.alloc.Age(off) < t.frozenBelow
}

// drop gives up a node that the trie does not reach any more.
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

func (t *Tx) dropLeaf(l node.Leaf) {
	if t.KeepLeaves && t.alloc.Mine(l.Off, l.Size()) {
		t.pending = append(t.pending, node.Block{Off: l.Off, Size: l.Size()})
		return
	}
	t.drop(l.Off, l.Size())
}
