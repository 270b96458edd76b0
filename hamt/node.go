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

// What the format leans on, asserted by the compiler: a negative length does
// not compile.
var (
	_ [0 - maxBranch%8]struct{}         // every node's end is a word's end
	_ [maxDepth*levelBits - 64]struct{} // the levels use up the hash
)

// nodeSize is the size of a branch or collision of n references.
func nodeSize(n uint64) uint64 { return node.HeaderSize + n*node.WordSize }
