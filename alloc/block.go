package alloc

import (
	"errors"
	"fmt"
	"slices"

	"github.com/seed-869cc763/shmkv/alloc/layout"
	"github.com/seed-869cc763/shmkv/alloc/region"
)

// Mine reports whether this transaction allocated the block for a node of size bytes
// (rule C6). A damaged reference may lead to a block of the transaction that has another
// size, and a change in place would write beyond that block.
func (s *Slot) Mine(off, size uint64) bool {
	w := layout.Head(s.m.Word(off))
	if w.Mark() != s.mark || w.Index() >= s.LogLen() {
		return false
	}
	return s.m.Word(s.logItem(w.Index())) == uint64(layout.MakeItem(off, layout.ClassOf(size)))
}

// Age is the place of an own block in the transaction's log; it grows with
// every allocation.
func (s *Slot) Age(off uint64) uint64 { return layout.Head(s.m.Word(off)).Index() }

// BlockSize is the size of the block that Alloc(size) hands out.
func (s *Slot) BlockSize(size uint64) uint64 { return layout.BlockSize(size) }

// Delta is the bytes of blocks that the transaction has allocated, less those that it
// has retired.
func (s *Slot) Delta() int64 { return s.delta }

// Alloc returns a block of at least size bytes, whose first word is the slot's mark. The
// block is in the log before it leaves the magazine. After a death in between it is in
// both, and recover takes it off the magazine.
func (s *Slot) Alloc(size uint64) (uint64, error) {
	if s.logFull() {
		if err := s.growLog(); err != nil {
			return 0, err
		}
	}
	c := layout.ClassOf(size)
	if c == layout.ClassRun {
		return s.allocRun(size)
	}
	if s.mags[c] == 0 {
		// Refilling may also free blocks, onto the magazine, before it fails.
		if err := s.refill(c); err != nil && s.mags[c] == 0 {
			return 0, err
		}
	}
	b := s.mags[c]
	next := s.m.Word(b + 8)
	if next != 0 {
		if err := s.checkBlock(b+8, next); err != nil {
			return 0, err
		}
		s.m.Prefetch(next) // for the next Alloc
	}
	n := s.LogLen()
	s.pushLog(layout.MakeItem(b, c))
	s.setMag(c, next)
	s.magLen[c]--
	s.taken[c]++
	s.m.Release(b, uint64(s.mark)|n)
	s.delta += int64(layout.Classes[c].Size)
	return b, nil
}

var errReused = errors.New("memory that the transaction has read was reused")

// allocRun allocates a block of whole pages.
func (s *Slot) allocRun(size uint64) (uint64, error) {
	if !s.Sound() { // the size may be garbage (rule R2)
		return 0, errReused
	}
	k := layout.RoundUp(size, layout.PageSize) >> layout.PageShift
	p, err := s.claimPages(k)
	if err != nil {
		return 0, err
	}
	s.become(p, k, layout.PageRun, 0)
	n := s.LogLen()
	s.pushLog(layout.MakeItem(p, layout.ClassRun))
	s.endRecord()
	s.m.Release(p, uint64(s.mark)|n)
	s.delta += int64(k) << layout.PageShift
	return p, nil
}

// checkBlock verifies the offset of a block that came from shared memory.
func (s *Slot) checkBlock(at, off uint64) error {
	if off%8 != 0 || off < layout.Segments[0].First || off > s.a.end.Load()-16 {
		return region.Corrupt(at, "offset of a block", off, "an offset within the store")
	}
	return nil
}

// checkItem verifies a list's item, which stands at the offset at.
func (a *Arena) checkItem(at, off uint64, c int) error {
	if a.checkAllocated(off, c, "listed") == nil {
		return nil
	}
	return region.Corrupt(at, "block in a list", fmt.Sprintf("offset %d of class %d", off, c), "an allocated block")
}

// checkAllocated verifies that at an offset, which came from shared memory, there is a
// block of a slab of the class, or a run.
func (a *Arena) checkAllocated(off uint64, c int, kind string) error {
	switch {
	case off%8 != 0 || off < layout.Segments[0].First || off > a.end.Load()-16:
		return region.Corrupt(off, "offset of a "+kind+" block", off, "an offset within the store")
	case c == layout.ClassRun:
		if off%layout.PageSize != 0 || a.page(off).State() != layout.PageRun {
			return region.Corrupt(off, "page of a "+kind+" run", layout.PageStateNames[a.page(off).State()%len(layout.PageStateNames)], "run")
		}
		return a.checkPages(layout.Desc(off)+layout.DescInfo, "pages of a run", off, a.runPages(off))
	case c >= layout.NumClasses:
		return region.Corrupt(off, "class of a "+kind+" block", c, fmt.Sprintf("less than %d", layout.NumClasses))
	}
	p, bit := a.slabOf(off, c)
	st := a.page(p)
	if (st.State() != layout.PageSlabOwned && st.State() != layout.PageSlabShared) || st.Class() != c || bit >= layout.Classes[c].Blocks || p+bit*layout.Classes[c].Size != off {
		return region.Corrupt(off, "slab of a "+kind+" block", fmt.Sprintf("page state %d of class %d", st.State(), st.Class()), fmt.Sprintf("a slab of class %d", c))
	}
	return nil
}

// Discard frees a block that the transaction has allocated and does not need. It puts
// the block on the magazine first, then takes it off the log.
func (s *Slot) Discard(off, size uint64) {
	item, c := s.logItem(s.Age(off)), layout.ClassOf(size)
	if s.m.Word(item) != uint64(layout.MakeItem(off, c)) {
		return // a damaged block that carries this transaction's mark
	}
	if c == layout.ClassRun {
		k := layout.RoundUp(size, layout.PageSize) >> layout.PageShift
		s.freePages(off, k, func() { s.m.SetWord(item, 0) })
		s.delta -= int64(k) << layout.PageShift
	} else {
		s.pushMag(c, off)
		s.m.SetWord(item, 0)
		s.delta -= int64(layout.Classes[c].Size)
	}
}

// Retire notes a published block that the transaction's result does not reach.
func (s *Slot) Retire(off, size uint64) {
	c := layout.ClassOf(size)
	if c != layout.ClassRun {
		size = layout.Classes[c].Size
	} else {
		size = layout.RoundUp(size, layout.PageSize)
	}
	s.retired = append(s.retired, retiredBlock{layout.MakeItem(off, c), size})
	s.delta -= int64(size)
}

// Unretire undoes a Retire of this transaction.
func (s *Slot) Unretire(off uint64) {
	for i, r := range s.retired {
		if r.block.Off() == off {
			s.delta += int64(r.size)
			s.retired = slices.Delete(s.retired, i, i+1)
			return
		}
	}
}

func (a *Arena) runPages(p uint64) uint64 { return a.ro.Load(layout.Desc(p) + layout.DescInfo) }
