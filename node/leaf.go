package node

import (
	"errors"
	"math/bits"
)

const (
	// HeaderSize is the size in bytes of the birth and the head of each node.
	HeaderSize = 16
	// HeadOff is the offset of the head in a node.
	HeadOff = 8
	// WordSize is the size of a word in bytes.
	WordSize = 8

	// KeyLenShift and FlagsShift are the lowest bits of these fields in a leaf's head.
	KeyLenShift = 32
	FlagsShift  = 52
	keyLenMask  = 1<<(FlagsShift-KeyLenShift) - 1
)

// Limits of one entry, in bytes.
const (
	MaxKeyLen   = 1 << 16
	MaxValueLen = 1<<32 - 1
)

// MaxKeyLen fits the field. An array of negative length does not compile.
var _ [keyLenMask - MaxKeyLen]struct{}

// ErrTooLarge reports a key longer than MaxKeyLen or a value longer than MaxValueLen.
var ErrTooLarge = errors.New("key or value too large")

// The flags of a leaf. For each flag that is set, the leaf ends with a further word, in
// the order of the flags' bits.
const (
	// HasMap: a word identifies the map that the entry belongs to. The leaves of a
	// store's unnamed map have none.
	HasMap = 1 << iota
	// HasSum: a word is the checksum of the leaf. A tree may have leaves with it and
	// leaves without it.
	HasSum

	allFlags = HasMap | HasSum
)

// An Extra is the flags of a leaf, and the further words that are not made from the leaf
// itself.
type Extra struct {
	Flags uint64
	Map   uint64 // with HasMap
}

// A Leaf is the offset and the head of one entry, not a copy of it. It is valid as long
// as its block is not reused. The zero Leaf stands for no entry.
type Leaf struct {
	Off  uint64
	head uint64
}

// MakeLeaf returns the leaf of a key and a value of these lengths at off.
func MakeLeaf(off uint64, keyLen, valueLen int, flags uint64) Leaf {
	return Leaf{off, flags<<FlagsShift | uint64(keyLen)<<KeyLenShift | uint64(valueLen)}
}

// KeyLen returns the length of the key in bytes.
func (l Leaf) KeyLen() uint64 { return l.head >> KeyLenShift & keyLenMask }

// ValueLen returns the length of the value in bytes.
func (l Leaf) ValueLen() uint64 { return uint64(uint32(l.head)) }

// Flags returns the leaf's flags.
func (l Leaf) Flags() uint64 { return l.head >> FlagsShift }

// KeyOff returns the offset of the key's first byte.
func (l Leaf) KeyOff() uint64 { return l.Off + HeaderSize }

// ValueOff returns the offset of the value's first byte.
func (l Leaf) ValueOff() uint64 { return l.Off + HeaderSize + l.KeyLen() }

// extraOff returns the offset of the first further word.
func (l Leaf) extraOff() uint64 {
	return (l.Off + HeaderSize + l.KeyLen() + l.ValueLen() + WordSize - 1) &^ (WordSize - 1)
}

// wordOff returns the offset of the further word of a flag that is set.
func (l Leaf) wordOff(flag uint64) uint64 {
	return l.extraOff() + WordSize*uint64(bits.OnesCount64(l.Flags()&(flag-1)))
}

// Size returns the size of the leaf in bytes, before rounding to a block size.
func (l Leaf) Size() uint64 {
	if l.Flags() == 0 {
		return HeaderSize + l.KeyLen() + l.ValueLen()
	}
	return l.extraOff() - l.Off + WordSize*uint64(bits.OnesCount64(l.Flags()))
}

// DataBytes returns the number of bytes of the key and the value together.
func (l Leaf) DataBytes() int64 { return int64(l.KeyLen() + l.ValueLen()) }
