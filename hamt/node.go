package hamt

import "github.com/seed-869cc763/shmkv/node"

// The format's numbers. See the package comment for the byte table.
const (
	levelBits = 6
	fanout    = 1 << levelBits
	levelMask = fanout - 1
	maxDepth  = (64 + levelBits - 1) / levelBits // 11; the last level has 4 bits

	maxBranch = node.HeaderSize + fanout*node.WordSize // the size of a full branch
)

// The format depends on these properties. An array of negative length does not
// compile.
var (
	_ [0 - maxBranch%8]struct{}         // branches end at multiples of 8
	_ [maxDepth*levelBits - 64]struct{} // the levels use all bits of the hash
)

// nodeSize returns the size in bytes of a branch or collision of n references.
func nodeSize(n uint64) uint64 { return node.HeaderSize + n*node.WordSize }
