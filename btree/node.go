package btree

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/seed-869cc763/shmkv/alloc/region"
	"github.com/seed-869cc763/shmkv/node"
)

// Why 32 and 64 children.
//
// The most children of bottom and inner nodes were measured with random keys of 16 bytes
// and values of 100, in nanoseconds, the fastest of three interleaved rounds on a machine
// whose clock varies by a third:
//
//	bottom, inner               16, 16   32, 32   32, 64   64, 64   64, 128
//	lookup among 10^3              161      126      102      153       116
//	lookup among 10^5              945      872      795      863       694
//	lookup among 10^6             1625     1775     1202     1471      1321
//	set among 10^3                 644      419      352      410       377
//	set among 10^5                1654     1547     1144     1661      1585
//	set among 10^6                2975     2429     1941     2775      2373
//
// Larger inner nodes spare a level. Larger bottom nodes are copied by each set. In the same
// rounds a lookup of package hamt, without the hash, took 76, 492 and 1049 ns.
//
// Why leaves of their own, and why not a radix tree.
//
// Two other structures were measured as prototypes beside this one: entries inside bottom
// nodes of 16 or 32, and a persistent adaptive radix tree with counts. The figures are
// medians of ratios of CPU time to this package in the same round, with random keys of 16
// bytes and values of 100; below 1 the other one is faster. Walks did not prefetch leaves
// yet, which takes a quarter to a third off scans and ranges.
//
//	                          inside, 16   inside, 32   radix
//	get among 10^3                  1.06         0.98    0.54
//	get among 10^6                  0.94         0.91    0.91
//	set, one a commit, 10^5         1.08         1.21    0.92
//	insert, one a commit, 10^5      1.47         1.54    1.33
//	scan, 10^5                      0.87         0.73    1.60
//	range of 100, 10^6              0.66         0.60    1.12
//	bytes copied by a set, 10^6     1.5          1.9     2.5
//	memory, 10^6                    0.97         0.96    0.98
//
// Entries inside the nodes make scans and ranges faster and sets slower; a set of a value
// of 1000 bytes takes twice as long. Large entries would need leaves all the same, and each
// entry a birth of its own. Differences could not skip shared leaves.
//
// A radix tree halves a get that stays in the cache. But its depth is in the hands of those
// who choose the keys: with 4000 keys that are prefixes of each other, a set took 1.7 ms and
// copied 3976 blocks, where this tree copies 3.

// The format's numbers. See the package comment for the byte table.
const (
	// maxBottom and maxInner are the most children of a node. A node that is not on the
	// right edge of the tree has at least a quarter of that, unless it is the root.
	maxBottom   = 32
	maxInner    = 64
	maxChildren = max(maxBottom, maxInner)

	// maxDepth is the most nodes above a leaf. A tree of this depth has more leaves than a
	// region has room for.
	maxDepth = 16

	// A node's skip is a multiple of skipStep.
	skipStep = 4

	countMask = 1<<16 - 1
	skipShift = 16

	headSize = 8

	prefetchLines = 4
)

// nodeSize returns the size in bytes of a node of n children.
func nodeSize(n uint64, inner bool) uint64 { return node.HeaderSize + n*widthOf(inner) }

// mostOf returns the most children of a node.
func mostOf(inner bool) uint64 {
	if inner {
		return maxInner
	}
	return maxBottom
}

// widthOf returns the bytes that a node has for each child.
func widthOf(inner bool) uint64 {
	if inner {
		return 3 * node.WordSize
	}
	return 2 * node.WordSize
}

// A Reader reads ordered trees in the first End bytes of a region. Whatever the memory
// contains, its methods touch no byte at or beyond End, and their loops and recursions
// are bounded (I7).
type Reader struct{ node.Reader }

// NewReader returns a Reader of the bytes of mem below end, as node.NewReader does.
func NewReader(mem region.Mem, end uint64) Reader { return Reader{node.NewReader(mem, end)} }

// A tnode is a node whose children all lie within the region.
type tnode struct {
	off   uint64
	n     uint64 // children
	skip  uint64
	width uint64 // bytes for each child
}

func (t tnode) inner() bool                     { return t.width == 3*node.WordSize }
func (t tnode) size() uint64                    { return node.HeaderSize + t.n*t.width }
func (t tnode) headsOff() uint64                { return t.off + node.HeaderSize }
func (t tnode) headOff(i uint64) uint64         { return t.off + node.HeaderSize + node.WordSize*i }
func (t tnode) refOff(i uint64) uint64          { return t.headOff(t.n + i) }
func (t tnode) countOff(i uint64) uint64        { return t.headOff(2*t.n + i) }
func (r Reader) head(t tnode, i uint64) uint64  { return r.Mem.Word(t.headOff(i)) }
func (r Reader) ref(t tnode, i uint64) node.Ref { return node.Ref(r.Mem.Word(t.refOff(i))) }

// count returns the number of leaves below the i-th child.
func (r Reader) count(t tnode, i uint64) uint64 {
	if !t.inner() {
		return 1
	}
	return r.Mem.Word(t.countOff(i))
}

// open reads the node at ref. It reports false unless there is a valid one.
func (r Reader) open(ref node.Ref) (t tnode, ok bool) {
	off, kind := ref.Off(), ref.Kind()
	if off > r.Last() || kind&^1 != node.KindBottom {
		return tnode{off: off}, false
	}
	w := r.Mem.Word(off + node.HeadOff)
	t = tnode{off, w & countMask, w >> skipShift, node.WordSize * (2 + uint64(kind&1))}
	return t, t.n-1 < mostOf(t.inner()) && off+t.size() <= r.End
}

// prefetch prefetches the cache lines of the node at off that a search is likely to read,
// but for the first. It prefetches none of another page, because that may be a hole.
func (r Reader) prefetch(off uint64) {
	if off%region.PageSize <= region.PageSize-64*(prefetchLines+1) && off <= r.Last() {
		for i := uint64(1); i <= prefetchLines; i++ {
			r.Mem.Prefetch(off + 64*i)
		}
	}
}

// node is open with an error that says what is wrong. depth is the number of nodes above.
func (r Reader) node(ref node.Ref, depth int) (tnode, error) {
	t, ok := r.open(ref)
	switch {
	case t.off > r.Last():
		return t, r.Outside(ref)
	case t.width == 0:
		return t, node.Corrupt(t.off, "reference", "a bottom or inner node", "%v", ref)
	case t.n-1 >= mostOf(t.inner()):
		return t, node.Corrupt(t.off, "node of an ordered tree", fmt.Sprintf("1 to %d children", mostOf(t.inner())), "%d", t.n)
	case !ok:
		return t, node.Corrupt(t.off, "node of an ordered tree", "its end within the region", "%d children", t.n)
	case t.skip > node.MaxKeyLen || t.skip%skipStep != 0:
		return t, node.Corrupt(t.off, "node of an ordered tree", "a skip of at most 65536, a multiple of 4", "%d", t.skip)
	case depth >= maxDepth:
		return t, node.Corrupt(t.off, "node of an ordered tree", "at most 16 nodes above a leaf", "more")
	}
	return t, nil
}

// headOf returns the head of a key: its first eight bytes behind the skipped ones, as a
// big-endian number. Missing bytes are zero.
func headOf(key []byte, skip uint64) uint64 {
	if skip+headSize <= uint64(len(key)) {
		return binary.BigEndian.Uint64(key[skip:])
	}
	if skip >= uint64(len(key)) {
		return 0
	}
	var word [headSize]byte
	copy(word[:], key[skip:])
	return binary.BigEndian.Uint64(word[:])
}

// leafHead is headOf for the key of a leaf. It reads whole words, as CompareKey does.
func (r Reader) leafHead(l node.Leaf, skip uint64) uint64 {
	n := l.KeyLen()
	if skip >= n {
		return 0
	}
	at, shift := skip&^(node.WordSize-1), skip%node.WordSize*8
	h := bits.ReverseBytes64(r.Mem.Word(l.KeyOff()+at)) << shift
	if next := at + node.WordSize; shift > 0 && next < n {
		h |= bits.ReverseBytes64(r.Mem.Word(l.KeyOff()+next)) >> (64 - shift)
	}
	if rest := n - skip; rest < headSize {
		h &^= 1<<(64-8*rest) - 1
	}
	return h
}

// upper returns how many of n heads from offset at on are not greater than h. n is not 0.
func (r Reader) upper(at, n, h uint64) uint64 {
	base := at
	for n > 1 {
		half := n / 2
		if r.Mem.Word(base+half*node.WordSize) <= h {
			base += half * node.WordSize
		}
		n -= half
	}
	i := (base - at) / node.WordSize
	if r.Mem.Word(base) <= h {
		i++
	}
	return i
}
