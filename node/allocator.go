package node

// Allocator is the interface between a transaction and its writer slot. Sizes are node
// sizes in bytes. The allocator rounds them up to block sizes.
type Allocator interface {
	// Alloc returns the offset of a block of at least size bytes. Its first word
	// belongs to the allocator, the rest is garbage.
	Alloc(size uint64) (off uint64, err error)
	// Mine reports whether this transaction allocated the block at off with this size.
	Mine(off, size uint64) bool
	// Age returns the position of a block of this transaction in the order of
	// allocation.
	Age(off uint64) uint64
	// LogLen returns a number that is greater than the Age of every block allocated
	// so far in this transaction, and not greater than the Age of any later one.
	LogLen() uint64
	// Discard frees a block of this transaction at once. The next Alloc may return it.
	Discard(off, size uint64)
	// Retire notes that the transaction's result no longer reaches a published block.
	Retire(off, size uint64)
	// Unretire reverts Retire.
	Unretire(off uint64)
	// Rewind frees all blocks of this transaction except the first n. Blocks that a
	// lost commit has stamped with births are not Mine, but Rewind frees them too.
	Rewind(n uint64)
	// BlockSize returns the number of bytes that Alloc(size) allocates.
	BlockSize(size uint64) uint64
}

// A Block is the offset and size of a node, the arguments of Discard and Retire.
type Block struct{ Off, Size uint64 }

// Allocate calls a.Alloc and, if the new block lies beyond the Reader's end, raises the
// end to include the block. The file may have grown since the transaction began.
func (r *Reader) Allocate(a Allocator, size uint64) (off uint64, err error) {
	if off, err = a.Alloc(size); err != nil {
		return 0, err
	}
	if end := off + size; end > r.End {
		*r = NewReader(r.Mem, (end+WordSize-1)&^(WordSize-1))
	}
	return off, nil
}

// NewLeaf allocates a leaf that no tree refers to yet and copies key and value into it.
// It returns ErrTooLarge for a key or value beyond the limits, or the error of Alloc.
func (r *Reader) NewLeaf(a Allocator, key, value []byte, extra Extra) (Leaf, error) {
	if len(key) > MaxKeyLen || uint64(len(value)) > MaxValueLen {
		return Leaf{}, ErrTooLarge
	}
	l := MakeLeaf(0, len(key), len(value), extra.Flags)
	var err error
	if l.Off, err = r.Allocate(a, l.Size()); err != nil {
		return Leaf{}, err
	}
	r.Mem.SetWord(l.Off+HeadOff, l.head)
	r.Mem.Write(l.KeyOff(), key)
	r.Mem.Write(l.ValueOff(), value)
	if extra.Flags != 0 {
		r.setExtra(l, extra)
	}
	return l, nil
}

// setExtra writes the further words of a leaf that is otherwise complete.
func (r *Reader) setExtra(l Leaf, extra Extra) {
	if extra.Flags&HasMap != 0 {
		r.Mem.SetWord(l.wordOff(HasMap), extra.Map)
	}
	if extra.Flags&HasSum != 0 {
		r.Mem.SetWord(l.wordOff(HasSum), r.sum(l))
	}
}

// CopyLeaf allocates a copy of the leaf l. No tree refers to the copy yet. Its error is
// that of Alloc.
func (r *Reader) CopyLeaf(a Allocator, l Leaf) (Leaf, error) {
	off, err := r.Allocate(a, l.Size())
	if err != nil {
		return Leaf{}, err
	}
	r.Mem.Write(off+HeadOff, r.Mem.Bytes(l.Off+HeadOff, l.Size()-HeadOff))
	l.Off = off
	return l, nil
}
