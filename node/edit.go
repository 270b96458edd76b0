package node

// An Edit is what a transaction keeps about its own blocks in one tree: which of them it
// may change in place, and which it frees when. Begin starts it, and reuses its memory.
//
// A transaction that calls Allocate notes the block with Note. If the change fails
// halfway, Undo discards these blocks, and the tree is as it was.
type Edit struct {
	Alloc Allocator
	// Extra is the further words of the leaves that the transaction makes, none after
	// Begin.
	Extra Extra
	// KeepLeaves keeps the transaction's own leaves readable until Finish after it has
	// replaced or deleted them. A caller that hands out their bytes sets it.
	KeepLeaves bool

	begins      uint64  // number of calls of Begin
	freezes     int     // number of running walks
	frozenBelow uint64  // own blocks of a lower Age must not change; 0 without a walk
	pending     []Block // own blocks that Finish will discard
	fresh       []Block // blocks that Undo will discard
}

// Begin starts a transaction.
func (e *Edit) Begin(a Allocator) {
	e.Alloc, e.Extra, e.KeepLeaves = a, Extra{}, false
	e.begins++
	e.freezes, e.frozenBelow = 0, 0
	e.pending, e.fresh = e.pending[:0], e.fresh[:0]
}

// Finish discards the blocks that KeepLeaves and Walk have kept. Call it after the last
// change and before the commit, and not during a Walk.
func (e *Edit) Finish() {
	for _, b := range e.pending {
		e.Alloc.Discard(b.Off, b.Size)
	}
	e.pending = e.pending[:0]
}

// Pending returns the blocks that Finish will discard.
func (e *Edit) Pending() []Block { return e.pending }

// BeginChange starts a change, which Undo undoes.
func (e *Edit) BeginChange() { e.fresh = e.fresh[:0] }

// Note notes a block of the current change.
func (e *Edit) Note(off, size uint64) { e.fresh = append(e.fresh, Block{off, size}) }

// Undo discards the blocks that were noted in the current change.
func (e *Edit) Undo() {
	for _, b := range e.fresh {
		e.Alloc.Discard(b.Off, b.Size)
	}
	e.fresh = e.fresh[:0]
}

// MayChange reports whether the transaction may change the node at off in place: the node
// is its own, and no running Walk must find it unchanged.
func (e *Edit) MayChange(off, size uint64) bool {
	return e.Alloc.Mine(off, size) && !e.frozen(off)
}

func (e *Edit) frozen(off uint64) bool {
	return e.frozenBelow != 0 && e.Alloc.Age(off) < e.frozenBelow
}

// Drop retires or discards a node that the tree no longer reaches. It defers the discard
// of a node that a running Walk may read to Finish.
func (e *Edit) Drop(off, size uint64) {
	switch {
	case !e.Alloc.Mine(off, size):
		e.Alloc.Retire(off, size)
	case e.frozen(off):
		e.pending = append(e.pending, Block{Off: off, Size: size})
	default:
		e.Alloc.Discard(off, size)
	}
}

// DropLeaf is Drop for a leaf. With KeepLeaves it defers the discard of an own leaf to
// Finish.
func (e *Edit) DropLeaf(l Leaf) {
	if e.KeepLeaves && e.Alloc.Mine(l.Off, l.Size()) {
		e.pending = append(e.pending, Block{Off: l.Off, Size: l.Size()})
		return
	}
	e.Drop(l.Off, l.Size())
}

// Walk calls walk, which reads the tree as it is now. Changes that the transaction makes
// meanwhile do not change the nodes that walk reads. If the transaction ends during walk,
// walk must return.
func (e *Edit) Walk(walk func() error) error {
	e.freezes++
	e.frozenBelow = e.Alloc.LogLen()
	began := e.begins
	defer func() {
		if e.begins != began {
			return // another transaction has begun
		}
		// Walks may end in any order. So the nodes that the latest walk needs stay
		// frozen until all walks have ended.
		if e.freezes--; e.freezes == 0 {
			e.frozenBelow = 0
		}
	}()
	return walk()
}
