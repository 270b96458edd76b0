package alloc

import (
	"errors"
	"sync/atomic"

	"github.com/seed-869cc763/shmkv/alloc/region"
)

// pageCursor is what a handle remembers of its searches. All of it is hints.
type pageCursor struct {
	next [64]atomic.Uint64 // by hint bit: page behind the last one found
	miss [64]atomic.Uint64 // by hint bit: the hint sequence when nothing was found, plus one
}

func (a *Arena) page(p uint64) pageState { return pageState(a.ro.Load(desc(p) + descState)) }

func (a *Arena) casPage(p uint64, old, new pageState) bool {
	return a.mem.CAS(desc(p)+descState, uint64(old), uint64(new))
}

// emptySlab reports whether all blocks of a slab are free.
func (a *Arena) emptySlab(p uint64) bool {
	d := desc(p) + descBitmap
	for i := range uint64(4) {
		if a.ro.Load(d+i*8) != 0 {
			return false
		}
	}
	return true
}

// extend raises the end so that k free pages in a row are there, with those that are
// free just below the present one. There is memory behind all of it before the end is raised, for a reader
// that is overtaken may be led anywhere below; but for a large gap that a long
// run leaves at the end of a segment, which counts as punched.
func (a *Arena) extend(k uint64) error {
	end, err := a.Limit()
	if err != nil {
		return err
	}
	from := end - a.freeBelow(end, k-1)*pageSize
	for {
		g := segmentOf(from)
		if g.start >= a.super.maxSize {
			return ErrFull
		}
		from = max(from, g.first)
		if from+k*pageSize <= min(g.stop, a.super.maxSize) {
			break
		}
		from = g.stop
	}
	least := from + k*pageSize
	to := min(max(least, end+roundUp(min(max(end/128, 16<<10), maxStep), pageSize)), a.super.maxSize)
	if g := segmentOf(to - 1); to <= g.first {
		to = g.start // not within a table
	}
	if err = a.backTo(end, from, to); errors.Is(err, ErrFull) && to > least {
		to = least
		err = a.backTo(end, from, to)
	}
	if err != nil {
		return err
	}
	if err := a.raise(end, to); err != nil {
		return err
	}
	a.debug("store grew", "from", end, "to", to)
	return nil
}

// raise raises the end and announces the pages below it. A death in between would
// hide them: a note tells of them.
func (a *Arena) raise(end, to uint64) error {
	a.hinting.Lock()
	defer a.hintsNoted()
	a.noteGroup(end, hintNote|hintNoteEnd)
	a.mem.Max(offEnd, to)
	if _, err := a.Limit(); err != nil {
		return err
	}
	for base := end &^ (groupPages<<pageShift - 1); base < to; base += groupPages << pageShift {
		if top := min(base+groupPages<<pageShift, to); top > segmentOf(base).first {
			a.hint(base, hintHole)
		}
	}
	return nil
}

// freeBelow counts the free pages in a row below the end, up to most, in its last
// segment.
func (a *Arena) freeBelow(end, most uint64) (n uint64) {
	for p := end; n < most && p > segmentOf(end-1).first && a.page(p-pageSize).free(); p -= pageSize {
		n++
	}
	return n
}

// maxStep is the most that the end is raised by at once, without need: memory
// that may never be used.
const maxStep = 1 << 20

// backTo puts memory behind what lies between the end and the end to be, and
// behind the tables of segments that begin there; from is where it is needed.
func (a *Arena) backTo(end, from, to uint64) error {
	for i := range segments {
		g := &segments[i]
		if g.stop <= end || g.start >= to {
			continue
		}
		if g.start >= end {
			if err := a.b.back(g.start, g.first-g.start); err != nil {
				return err
			}
		}
		lo, hi := max(end, g.first), min(to, g.stop)
		if hi <= from && hi > lo+maxStep {
			a.mayPunch() // who sees the new end sees the announcement as well
		} else if hi > lo {
			if err := a.b.back(lo, hi-lo); err != nil {
				return err
			}
		}
	}
	return nil
}

// record writes the slot's page record: first, what it says; last, that it
// says something.
func (s *Slot) record(kind, first, pages, gen, headGen uint64) {
	s.m.SetWord(s.base+slotRecPages, pages)
	s.m.SetWord(s.base+slotRecGen, gen)
	s.m.SetWord(s.base+slotRecHeadGen, headGen)
	s.m.SetWord(s.base+slotRec, first|kind)
}

func (s *Slot) endRecord() { s.m.SetWord(s.base+slotRec, 0) }

// become turns pages that the slot has claimed into something of its own: the
// further pages first, the head last.
func (s *Slot) become(first, k uint64, state, class int) {
	a := s.a
	gen := a.page(first).gen()
	for i := uint64(1); i < k; i++ {
		d := desc(first + i*pageSize)
		a.mem.Release(d+descInfo, first)
		a.mem.Release(d+descState, uint64(makeState(pageCont, 0, s.idx, gen)))
	}
	a.mem.Release(desc(first)+descInfo, k)
	a.mem.Store(desc(first)+descState, uint64(makeState(state, class, s.idx, gen)))
}

// freePages frees the pages of a slab, chunk or run that is the slot's alone,
// after unlink has taken them out of where they were. The record comes first:
// if it is found and they are still linked, nothing has happened yet; if they
// are not, redoFree goes on.
func (s *Slot) freePages(first, k uint64, unlink func()) {
	head := s.a.page(first)
	gen := head.gen()
	if k > 1 {
		gen = s.a.page(first + pageSize).gen()
	}
	s.record(recFree, first, k, gen, head.gen())
	unlink()
	s.a.mem.Add(offFreePages, k) // before they are free, so that redoFree does not count
	s.redoFree()
	s.endRecord()
	if k > 1 {
		s.noteFreed(first, k)
	}
}

// redoFree does what a recFree record says. Generations make it harmless to do
// so twice: a page that was freed and claimed by others has a newer one.
func (s *Slot) redoFree() {
	a := s.a
	first := s.m.Word(s.base+slotRec) &^ (pageSize - 1)
	k := s.m.Word(s.base + slotRecPages)
	gen, headGen := s.m.Word(s.base+slotRecGen), s.m.Word(s.base+slotRecHeadGen)
	for i := k; i > 0; i-- {
		p, want := first+(i-1)*pageSize, gen
		if i == 1 {
			want = headGen
		}
		st := a.page(p)
		if st.free() || st.state() == pageReserve || st.gen() != want {
			continue
		}
		a.mem.Release(desc(p)+descInfo, 0)
		if k == 1 && int64(a.ro.Load(offReserve)) < int64(a.reserve()) {
			a.mem.Add(offReserve, 1)
			a.mem.Add(offFreePages, ^uint64(0))
			a.mem.Store(desc(p)+descState, uint64(makeState(pageReserve, 0, 0, want+1)))
			a.hint(p, hintReserve)
			return
		}
		free := uint64(makeState(pageFree, 0, 0, want+1))
		if i == 1 || (p>>pageShift)%groupPages == 0 || i == k {
			a.mem.Store(desc(p)+descState, free) // before the look at the hint
			a.hint(p, hintFree)
		} else {
			a.mem.Release(desc(p)+descState, free)
		}
	}
}

// countReserve corrects the number of pages in reserve: each death may put it out by
// one, so adopters do it. Who changes the reserve meanwhile makes it too low by
// one, until the next count: then there is a page more in reserve, which is harmless.
func (a *Arena) countReserve() {
	for range 4 {
		counted, found := a.ReservePages()
		if counted == found || a.mem.CAS(offReserve, uint64(counted), uint64(found)) {
			return
		}
	}
}

// ReservePages returns how many pages are in reserve: as they are counted, and as
// there are.
func (a *Arena) ReservePages() (counted, found int64) {
	counted = int64(a.ro.Load(offReserve))
	a.searchFrom(hintsReserve, 0, func(uint64, pageState) bool { found++; return false })
	return counted, found
}

// checkPages verifies a page offset and count that came from shared memory.
func (a *Arena) checkPages(at uint64, what string, first, k uint64) error {
	limit, err := a.Limit()
	if err != nil {
		return err
	}
	if first%pageSize != 0 || first >= limit || first < segmentOf(first).first || k == 0 ||
		k > limit>>pageShift || first+k*pageSize > min(limit, segmentOf(first).stop) {
		return region.Corrupt(at, what, first, "the offset of a page")
	}
	return nil
}
