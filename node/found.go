package node

// Status is the outcome of a lookup.
type Status uint8

// The outcomes of a lookup.
const (
	Absent  Status = iota
	Present        // the key's leaf was found
	Damaged        // what the lookup met is no tree
)

func (s Status) String() string {
	switch s {
	case Absent:
		return "absent"
	case Present:
		return "present"
	}
	return "damaged"
}

// Result is what a lookup of one key among many found.
type Result struct {
	Leaf   Leaf
	Status Status
}

// A Node is one node of a tree, as the tree's Check visits it.
type Node struct {
	Ref   Ref
	Size  uint64 // without its block's rounding
	Depth int    // branches above it
	Birth uint64
	Leaf  Leaf // of a leaf: its entry
}
