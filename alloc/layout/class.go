package layout

import "math/bits"

// Size classes: multiples of 8 from 16 to 128, then eight to each doubling up
// to 32 KiB. Above 64 bytes a block is at most 12.5 % larger than what was
// asked for. Anything larger is a run of pages.
const (
	NumClasses = 79
	MaxBlock   = 32 << 10

	// Slabs of smaller blocks are single pages. The largest branch is such a
	// block, so a delete needs no two pages in a row, and the reserve, which
	// is of single pages, serves it.
	OnePage = 576

	ClassRun  = 0xff // in a list item: a run of pages
	ClassPage = 0xfe // in a log item: a queue page
)

type SizeClass struct {
	Size   uint64
	Pages  uint64 // of a slab: the fewest that leave no more than a sixteenth over, but see onePage
	Blocks uint64 // of a slab: at most 256
	Recip  uint64 // 2^32/size rounded up: division by size for offsets in a slab
	Keep   int    // blocks that a slot keeps in its magazine
}

var Classes = func() (t [NumClasses]SizeClass) {
	for c := range t {
		size := uint64(c+2) * 8
		if c > 14 {
			m := uint64(7 + (c-15)/8)
			size = 1<<m + uint64((c-15)%8+1)<<(m-3)
		}
		pages := uint64(1)
		for size > OnePage && pages*PageSize%size*16 > pages*PageSize || pages*PageSize < size {
			pages++
		}
		t[c] = SizeClass{size, pages, pages * PageSize / size, 1<<32/size + 1, int(min(max(64<<10/size, 2), 256))}
	}
	return t
}()

// classOf returns the class of blocks of at least size bytes, or classRun.
func ClassOf(size uint64) int {
	switch {
	case size <= 16:
		return 0
	case size <= 128:
		return int(size+7)/8 - 2
	case size <= MaxBlock:
		m := bits.Len64(size-1) - 1
		return 15 + (m-7)*8 + int((size-1-1<<m)>>(m-3))
	}
	return ClassRun
}

func MaxBlockOf(maxSize uint64) uint64 {
	most := uint64(0)
	for k := range Segments {
		g := &Segments[k]
		if stop := min(g.Stop, maxSize); stop > g.First {
			n := stop - g.First
			if maxSize <= Segments[1].First { // they are nowhere else
				n -= FirstTaken << PageShift
			}
			most = max(most, n)
		}
	}
	return most
}

// firstTaken is how many pages of a store are in use when the first transaction
// commits: the reserve, of which its queue may take one in a small store, the slab of
// the root node, and the page of a slot.
const FirstTaken = ReservePages + 2

// SlabAt returns the first page of the slab that a block of the class at off is in, and
// the block's bit, without a look at the table. No block of a class lies at the same place in a page as
// another page's block of its slab. It reports false if no slab has a block there.
func SlabAt(off uint64, class int) (first, bit uint64, ok bool) {
	c := &Classes[class]
	for first = PageOf(off); off-first < c.Pages*PageSize; first -= PageSize {
		if in := off - first; in%c.Size == 0 && in/c.Size < c.Blocks {
			return first, in / c.Size, true
		}
		if first == 0 {
			break
		}
	}
	return 0, 0, false
}

// BlockSize returns the size of the block that Alloc(size) hands out.
func BlockSize(size uint64) uint64 {
	if c := ClassOf(size); c != ClassRun {
		return Classes[c].Size
	}
	return RoundUp(size, PageSize)
}
