package hamt

// The three functions below serve branches and collisions alike: both are a
// head and n references. They return the offset of a node with the change made:
// off itself, or a new one if the node at off must not change or its block is
// of another size.

// withChanged replaces the i-th reference.
func (t *Tx) withChanged(off, n, i uint64, ref Ref) (uint64, error) {
	dst := off
	if !t.mayChange(off, nodeSize(n)) {
		var err error
		if dst, err = t.newNode(n); err != nil {
			return 0, err
		}
		t.copyWords(dst+headOff, off+headOff, 1+n)
	}
	t.r.mem.SetWord(dst+headerSize+wordSize*i, uint64(ref))
	return dst, nil
}

// withInserted makes ref the i-th reference.
func (t *Tx) withInserted(off, n, i, head uint64, ref Ref) (uint64, error) {
	dst, err := t.resized(off, n, n+1)
	if err != nil {
		return 0, err
	}
	at := headerSize + wordSize*i
	if dst == off {
		// Upwards within one node: from the end.
		for o := off + nodeSize(n); o > off+at; o -= wordSize {
			t.r.mem.SetWord(o, t.r.mem.Word(o-wordSize))
		}
	} else {
		t.copyWords(dst+headerSize, off+headerSize, i)
		t.copyWords(dst+at+wordSize, off+at, n-i)
	}
	t.r.mem.SetWord(dst+at, uint64(ref))
	t.r.mem.SetWord(dst+headOff, head)
	return dst, nil
}

// withRemoved removes the i-th reference.
func (t *Tx) withRemoved(off, n, i, head uint64) (uint64, error) {
	dst, err := t.resized(off, n, n-1)
	if err != nil {
		return 0, err
	}
	at := headerSize + wordSize*i
	if dst != off {
		t.copyWords(dst+headerSize, off+headerSize, i)
	}
	t.copyWords(dst+at, off+at+wordSize, n-1-i)
	t.r.mem.SetWord(dst+headOff, head)
	return dst, nil
}

// resized returns off if the node there, of n references, can become one of m
// in place, or a new node. The node may be an own one by damage only, so its
// block is not believed to reach beyond the end.
func (t *Tx) resized(off, n, m uint64) (uint64, error) {
	if t.mayChange(off, nodeSize(n)) && off+nodeSize(m) <= t.r.end &&
		t.alloc.BlockSize(nodeSize(n)) == t.alloc.BlockSize(nodeSize(m)) {
		return off, nil
	}
	return t.newNode(m)
}

// copyWords copies n words, and downwards also within one node.
func (t *Tx) copyWords(dst, src, n uint64) {
	t.r.mem.Copy(dst, src, n*wordSize)
}

// newBranch allocates a branch with the given children.
func (t *Tx) newBranch(bitmap uint64, refs ...Ref) (Ref, error) {
	off, err := t.newNode(uint64(len(refs)))
	if err != nil {
		return 0, err
	}
	b := branch{off: off, bitmap: bitmap}
	t.r.mem.SetWord(off+headOff, bitmap)
	for i, ref := range refs {
		t.r.mem.SetWord(b.refOff(uint64(i)), uint64(ref))
	}
	return makeRef(kindBranch, off, 0), nil
}

// newNode allocates a branch or collision of n references, and remembers it
// for undo.
func (t *Tx) newNode(n uint64) (uint64, error) {
	size := nodeSize(n)
	off, err := t.allocate(size)
	if err != nil {
		return 0, err
	}
	t.fresh[t.nfresh] = block{off, size}
	t.nfresh++
	return off, nil
}

// allocate calls Alloc, and lets the Reader see as far as the new block, which
// may be in memory that the region did not have when the transaction began.
func (t *Tx) allocate(size uint64) (uint64, error) {
	off, err := t.alloc.Alloc(size)
	if err != nil {
		return 0, err
	}
	if end := off + size; end > t.r.end {
		t.r = NewReader(t.r.mem, (end+wordSize-1)&^(wordSize-1))
	}
	return off, nil
}

// undo discards what the current call has allocated.
func (t *Tx) undo() {
	for _, b := range t.fresh[:t.nfresh] {
		t.alloc.Discard(b.off, b.size)
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
		t.pending = append(t.pending, block{off, size})
	default:
		t.alloc.Discard(off, size)
	}
}

func (t *Tx) dropLeaf(l Leaf) {
	if t.KeepLeaves && t.alloc.Mine(l.Off, l.Size()) {
		t.pending = append(t.pending, block{l.Off, l.Size()})
		return
	}
	t.drop(l.Off, l.Size())
}
