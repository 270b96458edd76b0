package node

import "fmt"

// Ref refers to a node: its kind, its offset, and for a leaf or a collision
// its tag. The zero Ref is the empty tree.
type Ref uint64

// Kinds of node, in the low three bits of a Ref.
const (
	KindNil Ref = iota
	KindBranch
	KindLeaf
	KindCollision

	kindMask Ref = 7
)

const (
	// OffMask covers the offset in a Ref.
	OffMask = 1<<48 - 8
	// TagShift is where the tag begins in a Ref and in a hash.
	TagShift = 48
)

// Tag and offset do not overlap: a negative length does not compile.
var _ [TagShift - 48]struct{}

// MakeRef returns a reference to the node at off. hash is that of the key of a leaf
// or collision.
func MakeRef(kind Ref, off, hash uint64) Ref {
	if kind == KindBranch {
		return KindBranch | Ref(off)
	}
	return kind | Ref(off) | Ref(hash>>TagShift<<TagShift)
}

// Off returns the offset of the node.
func (r Ref) Off() uint64 { return uint64(r) & OffMask }

// Kind returns the kind of the node.
func (r Ref) Kind() Ref { return r & kindMask }

// Tag returns the tag of a leaf or collision.
func (r Ref) Tag() uint64 { return uint64(r) >> TagShift }

// String names the kind, offset and tag, for errors and dumps.
func (r Ref) String() string {
	switch {
	case r == 0:
		return "nil"
	case r.Kind() == KindBranch && r.Tag() == 0:
		return fmt.Sprintf("branch@%#x", r.Off())
	case r.Kind() == KindLeaf:
		return fmt.Sprintf("leaf@%#x tag %04x", r.Off(), r.Tag())
	case r.Kind() == KindCollision:
		return fmt.Sprintf("collision@%#x tag %04x", r.Off(), r.Tag())
	}
	return fmt.Sprintf("invalid ref %#016x", uint64(r))
}
