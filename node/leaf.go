package node

import "errors"

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

// A Leaf is the offset and the lengths of one entry, not a copy of it. It is valid as
// long as its block is not reused. The zero Leaf stands for no entry.
type Leaf struct {
	Off      uint64
	KeyLen   uint32
	ValueLen uint32
}

// KeyOff returns the offset of the key's first byte.
func (l Leaf) KeyOff() uint64 { return l.Off + HeaderSize }

// ValueOff returns the offset of the value's first byte.
func (l Leaf) ValueOff() uint64 { return l.Off + HeaderSize + uint64(l.KeyLen) }

// Size returns the size of the leaf in bytes, before rounding to a block size.
func (l Leaf) Size() uint64 {
	return HeaderSize + uint64(l.KeyLen) + uint64(l.ValueLen)
}

// DataBytes returns the number of bytes of the key and the value together.
func (l Leaf) DataBytes() int64 { return int64(l.KeyLen) + int64(l.ValueLen) }

func (l Leaf) head() uint64 { return uint64(l.KeyLen)<<KeyLenShift | uint64(l.ValueLen) }
