package memcache

import (
	"math/bits"
	"sync"
)

// A block is memory for a large value, or for answers with some. Blocks come from a pool for
// each size, and go back when what was in them was written.
type block struct{ bytes []byte }

const (
	leastBlock = 15 // the smallest block has 1<<leastBlock bytes
	mostBlock  = 21 // larger ones are not kept
)

var blocks [mostBlock - leastBlock + 1]sync.Pool

// takeBlock returns a block of at least n bytes.
func takeBlock(n int) *block {
	class := max(bits.Len(uint(n-1)), leastBlock)
	if class > mostBlock {
		return &block{make([]byte, n)}
	}
	if b, ok := blocks[class-leastBlock].Get().(*block); ok {
		return b
	}
	return &block{make([]byte, 1<<class)}
}

// giveBlock takes a block back, or nil. Nobody uses its memory any more.
func giveBlock(b *block) {
	if b == nil {
		return
	}
	if class := bits.Len(uint(len(b.bytes) - 1)); class <= mostBlock && len(b.bytes) == 1<<class {
		blocks[class-leastBlock].Put(b)
	}
}

// roomIn returns memory for n bytes in a block, in the place of which it puts a larger one, or
// the first one, if need be.
func roomIn(b **block, n int) []byte {
	if *b == nil || len((*b).bytes) < n {
		giveBlock(*b)
		*b = takeBlock(n)
	}
	return (*b).bytes[:0]
}
