package node

// Allocator is what a transaction needs of its writer slot. Sizes are of
// nodes; the allocator rounds them up to blocks.
type Allocator interface {
	// Alloc returns the offset of a block of at least size bytes. Its first
	// word is the allocator's; the rest is garbage.
	Alloc(size uint64) (off uint64, err error)
	// Mine reports whether this transaction allocated the block, for so many bytes.
	Mine(off, size uint64) bool
	// Age numbers the blocks of this transaction in the order of allocation.
	Age(off uint64) uint64
	// LogLen is greater than the Age of every block of this transaction so
	// far, and not greater than that of any later one.
	LogLen() uint64
	// Discard gives back a block of this transaction at once: the next Alloc
	// may return it.
	Discard(off, size uint64)
	// Retire tells that the transaction's result does not reach a published
	// block any more, Unretire that it does after all.
	Retire(off, size uint64)
	Unretire(off uint64)
	// Rewind gives back all blocks of this transaction but the first n. They may
	// carry births by now, and then are not Mine.
	Rewind(n uint64)
	// BlockSize returns how many bytes Alloc(size) really allocates.
	BlockSize(size uint64) uint64
}

// A Block is the place of a node, as Discard and Retire want to know it.
type Block struct{ Off, Size uint64 }

// Allocate calls Alloc, and lets the Reader see as far as the new block, which
// may lie in memory that the region did not have when the transaction began.
func (r *Reader) Allocate(a Allocator, size uint64) (off uint64, err error) {
	if off, err = a.Alloc(size); err != nil {
		return 0, err
	}
	if end := off + size; end > r.End {
		*r = NewReader(r.Mem, (end+WordSize-1)&^(WordSize-1))
	}
	return off, nil
}

// NewLeaf writes a leaf that no tree refers to yet.
func (r *Reader) NewLeaf(a Allocator, key, value []byte) (Leaf, error) {
	if len(key) > MaxKeyLen || uint64(len(value)) > MaxValueLen {
		return Leaf{}, ErrTooLarge
	}
	l := Leaf{KeyLen: uint32(len(key)), ValueLen: uint32(len(value))}
	var err error
	if l.Off, err = r.Allocate(a, l.Size()); err != nil {
		return Leaf{}, err
	}
	r.Mem.SetWord(l.Off+HeadOff, l.head())
	r.Mem.Write(l.KeyOff(), key)
	r.Mem.Write(l.ValueOff(), value)
	return l, nil
}

// CopyLeaf writes a copy of a leaf, which no tree refers to yet.
func (r *Reader) CopyLeaf(a Allocator, l Leaf) (Leaf, error) {
	off, err := r.Allocate(a, l.Size())
	if err != nil {
		return Leaf{}, err
	}
	r.Mem.Write(off+HeadOff, r.Mem.Bytes(l.Off+HeadOff, l.Size()-HeadOff))
	l.Off = off
	return l, nil
}
