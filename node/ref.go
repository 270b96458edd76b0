package node

import "fmt"

// A Ref refers to a node. It contains the node's kind, its offset and, for a leaf or
// collision, its tag. The zero Ref is the empty tree.
type Ref uint64

// The kinds of nodes are the low three bits of a Ref.
const (
	KindNil Ref = iota
	KindBranch
	KindLeaf
	KindCollision
	KindBottom // a node of an ordered tree, whose children are leaves
	KindInner  // a node of an ordered tree, whose children are nodes

	kindMask Ref = 7

	// Tied is a flag of a reference to a node of an ordered tree: see package btree.
	Tied Ref = 1 << TagShift
)

const (
	// OffMask is the mask of the offset in a Ref.
	OffMask = 1<<48 - 8
	// TagShift is the lowest bit of the tag in a Ref and in a hash.
	TagShift = 48
)

// The tag and the offset do not overlap. An array of negative length does not compile.
var _ [TagShift - 48]struct{}

// MakeRef returns a reference to the node at off, a multiple of 8. For a leaf or
// collision of a trie, hash is the hash of its key, otherwise 0. For a branch, MakeRef
// ignores hash.
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

// Tag returns the tag of a leaf or collision, and 0 for a branch.
func (r Ref) Tag() uint64 { return uint64(r) >> TagShift }

// String returns the kind, the offset and the tag as text, for errors and dumps.
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
	case r.Kind() == KindBottom && r.Tag() <= 1:
		return fmt.Sprintf("bottom@%#x tag %d", r.Off(), r.Tag())
	case r.Kind() == KindInner && r.Tag() <= 1:
		return fmt.Sprintf("inner@%#x tag %d", r.Off(), r.Tag())
	}
	return fmt.Sprintf("invalid ref %#016x", uint64(r))
}
