package alloc

import "math/bits"

// Size classes: multiples of 8 from 16 to 128, then eight to each doubling up
// to 32 KiB. Above 64 bytes a block is at most 12.5 % larger than what was
// asked for. Anything larger is a run of pages.
const (
	numClasses = 79
	maxBlock   = 32 << 10

	// Slabs of smaller blocks are single pages. The largest branch is such a
	// block, so a delete needs no two pages in a row, and the reserve, which
	// is of single pages, serves it.
	onePage = 576

	classRun  = 0xff // in a list entry: a run of pages
	classPage = 0xfe // in a log entry: a queue page
	rootFlag  = 0x80 << 56
)

type sizeClass struct {
	size   uint64
	pages  uint64 // of a slab: the fewest that leave no more than a sixteenth over, but see onePage
	blocks uint64 // of a slab: at most 256
	recip  uint64 // 2^32/size rounded up: division by size for offsets in a slab
	keep   int    // blocks that a slot keeps in its magazine
}

var classes = func() (t [numClasses]sizeClass) {
	for c := range t {
		size := uint64(c+2) * 8
		if c > 14 {
			m := uint64(7 + (c-15)/8)
			size = 1<<m + uint64((c-15)%8+1)<<(m-3)
		}
		pages := uint64(1)
		for size > onePage && pages*pageSize%size*16 > pages*pageSize || pages*pageSize < size {
			pages++
		}
		t[c] = sizeClass{size, pages, pages * pageSize / size, 1<<32/size + 1, int(min(max(64<<10/size, 2), 256))}
	}
	return t
}()

// classOf returns the class of blocks of at least size bytes, or classRun.
func classOf(size uint64) int {
	switch {
	case size <= 16:
		return 0
	case size <= 128:
		return int(size+7)/8 - 2
	case size <= maxBlock:
		m := bits.Len64(size-1) - 1
		return 15 + (m-7)*8 + int((size-1-1<<m)>>(m-3))
	}
	return classRun
}

// MaxBlock is the size of the largest block that a store of this maximum size can
// ever hold: a run cannot reach from one segment into the next, and where there is
// one segment only, some of its pages are never free.
func (a *Arena) MaxBlock() uint64 { return maxBlockOf(a.super.maxSize) }

func maxBlockOf(maxSize uint64) uint64 {
	most := uint64(0)
	for k := range segments {
		g := &segments[k]
		if stop := min(g.stop, maxSize); stop > g.first {
			n := stop - g.first
			if maxSize <= segments[1].first { // they are nowhere else
				n -= firstTaken << pageShift
			}
			most = max(most, n)
		}
	}
	return most
}

// firstTaken is how many pages of a store are in use when the first transaction
// commits: the reserve, of which its queue may take one in a small store, the slab of
// the root node, and the page of a slot.
const firstTaken = reservePages + 2

// BlockSize returns the size of the block that Alloc(size) hands out.
func BlockSize(size uint64) uint64 {
	if c := classOf(size); c != classRun {
		return classes[c].size
	}
	return roundUp(size, pageSize)
}
