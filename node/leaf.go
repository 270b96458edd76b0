package node

import "errors"

const (
	// HeaderSize is the size of the birth and the head, in every kind of node.
	HeaderSize = 16
	// HeadOff is the offset of the head in a node.
	HeadOff = 8
	// WordSize is the size of a word.
	WordSize = 8

	// KeyLenShift and FlagsShift are where these fields begin in a leaf's head.
	KeyLenShift = 32
	FlagsShift  = 52
	keyLenMask  = 1<<(FlagsShift-KeyLenShift) - 1
)

// Limits of one entry.
const (
	MaxKeyLen   = 1 << 16
	MaxValueLen = 1<<32 - 1
)

// The longest key's length fits its field: a negative length does not compile.
var _ [keyLenMask - MaxKeyLen]struct{}

// ErrTooLarge tells that a key is longer than MaxKeyLen or a value longer than
// MaxValueLen.
var ErrTooLarge = errors.New("key or value too large")

// Leaf says where one entry lies. The zero Leaf is no entry. It is a place,
// not a copy: it is valid for as long as its block is.
type Leaf struct {
	Off      uint64
	KeyLen   uint32
	ValueLen uint32
}

// KeyOff returns the offset of the key's first byte.
func (l Leaf) KeyOff() uint64 { return l.Off + HeaderSize }

// ValueOff returns the offset of the value's first byte.
func (l Leaf) ValueOff() uint64 { return l.Off + HeaderSize + uint64(l.KeyLen) }

// Size returns the bytes of the leaf, without its block's rounding.
func (l Leaf) Size() uint64 {
	return HeaderSize + uint64(l.KeyLen) + uint64(l.ValueLen)
}

// DataBytes returns the bytes of the key and of the value.
func (l Leaf) DataBytes() int64 { return int64(l.KeyLen) + int64(l.ValueLen) }

// head returns the leaf's head word.
func (l Leaf) head() uint64 { return uint64(l.KeyLen)<<KeyLenShift | uint64(l.ValueLen) }
