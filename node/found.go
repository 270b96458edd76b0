package node

// Status is the outcome of a lookup.
type Status uint8

// The outcomes of a lookup.
const (
	Absent  Status = iota // the tree has no such key
	Present               // the lookup found the key's leaf
	Damaged               // the lookup met an invalid node or reference
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

// A Tree is the root of a tree, and its totals.
type Tree struct {
	Root      Ref
	Entries   int64
	DataBytes int64  // bytes of all keys and values
	Digest    uint64 // sum of the Digests of the leaves that a transaction has added, less those that it has taken away
}

// Add adds a leaf to the totals.
func (t *Tree) Add(r Reader, l Leaf) {
	t.Entries++
	t.DataBytes += l.DataBytes()
	t.Digest += r.Digest(l)
}

// Remove takes a leaf out of the totals.
func (t *Tree) Remove(r Reader, l Leaf) {
	t.Entries--
	t.DataBytes -= l.DataBytes()
	t.Digest -= r.Digest(l)
}

// Effect is the effect of a set on a tree.
type Effect uint8

// The effects of a set.
const (
	Unchanged Effect = iota // the entry already had this value
	Inserted                // the key had no entry
	Replaced                // the entry had another value
)

// A Result is the result of the lookup of one key among many. Leaf is the zero Leaf
// unless Status is Present.
type Result struct {
	Leaf   Leaf
	Status Status
}

// A Node describes one node of a tree to the visit function of the tree's Check.
type Node struct {
	Ref   Ref
	Size  uint64 // in bytes, before rounding to a block size
	Depth int    // number of branches above the node
	Birth uint64
	Leaf  Leaf // the entry if the node is a leaf, else the zero Leaf
}
