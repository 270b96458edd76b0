package hamt

import "fmt"

// Ref refers to a node: its kind, its offset, and for a leaf or a collision
// its tag. The zero Ref is the empty trie.
type Ref uint64

// Kinds of node, in the low three bits of a Ref.
const (
	kindNil Ref = iota
	kindBranch
	kindLeaf
	kindCollision

	kindMask Ref = 7
)

// The format's numbers. See the package comment for the byte table.
const (
	offMask  = 1<<48 - 8 // of a Ref: its offset
	tagShift = 48        // of a Ref and of a hash: its tag

	headerSize = 16 // birth and head, of every kind of node
	headOff    = 8
	wordSize   = 8

	levelBits = 6
	fanout    = 1 << levelBits
	levelMask = fanout - 1
	maxDepth  = (64 + levelBits - 1) / levelBits // 11; the last level has 4 bits

	maxBranch = headerSize + fanout*wordSize // the size of a full branch

	keyLenShift = 32 // in a leaf's head
	flagsShift  = 52
	keyLenMask  = 1<<(flagsShift-keyLenShift) - 1
)

// Limits of one entry.
const (
	MaxKeyLen   = 1 << 16
	MaxValueLen = 1<<32 - 1
)

// What the format leans on, asserted by the compiler: a negative length does
// not compile.
var (
	_ [0 - (headerSize+fanout*wordSize)%8]struct{} // every node's end is a word's end
	_ [keyLenMask - MaxKeyLen]struct{}             // the longest key's length fits its field
	_ [tagShift - 48]struct{}                      // tag and offset do not overlap
	_ [maxDepth*levelBits - 64]struct{}            // the levels use up the hash
)

func makeRef(kind Ref, off, hash uint64) Ref {
	if kind == kindBranch {
		return kindBranch | Ref(off)
	}
	return kind | Ref(off) | Ref(hash>>tagShift<<tagShift)
}

// Off returns the offset of the node.
func (r Ref) Off() uint64 { return uint64(r) & offMask }

func (r Ref) kind() Ref   { return r & kindMask }
func (r Ref) tag() uint64 { return uint64(r) >> tagShift }

// String names the kind, offset and tag, for errors and dumps.
func (r Ref) String() string {
	switch {
	case r == 0:
		return "nil"
	case r.kind() == kindBranch && r.tag() == 0:
		return fmt.Sprintf("branch@%#x", r.Off())
	case r.kind() == kindLeaf:
		return fmt.Sprintf("leaf@%#x tag %04x", r.Off(), r.tag())
	case r.kind() == kindCollision:
		return fmt.Sprintf("collision@%#x tag %04x", r.Off(), r.tag())
	}
	return fmt.Sprintf("invalid ref %#016x", uint64(r))
}

// Leaf says where one entry lies. The zero Leaf is no entry. It is a place,
// not a copy: it is good for as long as its block is, see [Reader] and [Tx].
type Leaf struct {
	Off      uint64
	KeyLen   uint32
	ValueLen uint32
}

// KeyOff returns the offset of the key's first byte.
func (l Leaf) KeyOff() uint64 { return l.Off + headerSize }

// ValueOff returns the offset of the value's first byte.
func (l Leaf) ValueOff() uint64 { return l.Off + headerSize + uint64(l.KeyLen) }

// Size returns the bytes of the leaf, without its block's rounding.
func (l Leaf) Size() uint64 {
	return headerSize + uint64(l.KeyLen) + uint64(l.ValueLen)
}

// dataBytes is what the leaf counts in Tx.DataBytes.
func (l Leaf) dataBytes() int64 { return int64(l.KeyLen) + int64(l.ValueLen) }

// nodeSize is the size of a branch or collision of n references.
func nodeSize(n uint64) uint64 { return headerSize + n*wordSize }
