package alloc

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/seed-869cc763/shmkv/alloc/layout"
	"github.com/seed-869cc763/shmkv/alloc/region"
)

// pageCursor is where a handle's next searches begin. All of it is hints.
type pageCursor struct {
	next [64]atomic.Uint64 // by hint bit: page behind the last one found
	miss [64]atomic.Uint64 // by hint bit: the hint sequence when nothing was found, plus one
}

func (a *Arena) page(p uint64) layout.PageState {
	return layout.PageState(a.ro.Load(layout.Desc(p) + layout.DescState))
}

func (a *Arena) casPage(p uint64, old, new layout.PageState) bool {
	return a.mem.CAS(layout.Desc(p)+layout.DescState, uint64(old), uint64(new))
}

// eachPage calls visit for the pages below end, without those of tables, until visit
// returns an error.
func (a *Arena) eachPage(ctx context.Context, end uint64, visit func(p uint64, st layout.PageState) error) error {
	for k := range layout.Segments {
		g := &layout.Segments[k]
		for p := g.First; p < min(g.Stop, end); p += layout.PageSize {
			if p%(4<<20) == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
			if err := visit(p, a.page(p)); err != nil {
				return err
			}
		}
	}
	return nil
}

// emptySlab reports whether all blocks of a slab are free.
func (a *Arena) emptySlab(p uint64) bool {
	d := layout.Desc(p) + layout.DescBitmap
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
	most := a.most()
	from := end - a.freeBelow(end, k-1)*layout.PageSize
	for {
		g := layout.SegmentOf(from)
		if g.Start >= most {
			return ErrFull
		}
		from = max(from, g.First)
		if from+k*layout.PageSize <= min(g.Stop, most) {
			break
		}
		from = g.Stop
	}
	least := from + k*layout.PageSize
	to := min(max(least, end+layout.RoundUp(min(max(end/128, 16<<10), maxStep), layout.PageSize)), most)
	if g := layout.SegmentOf(to - 1); to <= g.First {
		to = g.Start // not within a table
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

// raise raises the end and announces the pages below it. A death in between would hide
// the pages, so a note in the proc names them.
func (a *Arena) raise(end, to uint64) error {
	a.hinting.Lock()
	defer a.hintsNoted()
	a.noteGroup(end, hintNote|hintNoteEnd)
	a.mem.Max(layout.OffEnd, to)
	if _, err := a.Limit(); err != nil {
		return err
	}
	for base := end &^ (layout.GroupPages<<layout.PageShift - 1); base < to; base += layout.GroupPages << layout.PageShift {
		if top := min(base+layout.GroupPages<<layout.PageShift, to); top > layout.SegmentOf(base).First {
			a.hint(base, layout.HintHole)
		}
	}
	return nil
}

// freeBelow counts the free pages in a row below the end, up to most, in its last
// segment.
func (a *Arena) freeBelow(end, most uint64) (n uint64) {
	for p := end; n < most && p > layout.SegmentOf(end-1).First && a.page(p-layout.PageSize).Free(); p -= layout.PageSize {
		n++
	}
	return n
}

// maxStep is the most bytes by which the end is raised beyond the need of the moment.
// Their memory may never be used.
const maxStep = 1 << 20

// backTo puts memory behind what lies between the end and the end to be, and
// behind the tables of segments that begin there; from is where it is needed.
func (a *Arena) backTo(end, from, to uint64) error {
	for i := range layout.Segments {
		g := &layout.Segments[i]
		if g.Stop <= end || g.Start >= to {
			continue
		}
		if g.Start >= end {
			if err := a.b.back(g.Start, g.First-g.Start); err != nil {
				return err
			}
		}
		lo, hi := max(end, g.First), min(to, g.Stop)
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

// record writes the slot's page record. The word that makes it valid is the last.
func (s *Slot) record(kind, first, pages, gen, headGen uint64) {
	s.m.SetWord(s.base+layout.SlotRecPages, pages)
	s.m.SetWord(s.base+layout.SlotRecGen, gen)
	s.m.SetWord(s.base+layout.SlotRecHeadGen, headGen)
	s.m.SetWord(s.base+layout.SlotRec, first|kind)
}

func (s *Slot) endRecord() { s.m.SetWord(s.base+layout.SlotRec, 0) }

// become gives pages that the slot has claimed a state of the slot's own: the further
// pages first, the head last.
func (s *Slot) become(first, k uint64, state, class int) {
	a := s.a
	gen := a.page(first).Gen()
	for i := uint64(1); i < k; i++ {
		d := layout.Desc(first + i*layout.PageSize)
		a.mem.Release(d+layout.DescInfo, first)
		a.mem.Release(d+layout.DescState, uint64(layout.MakeState(layout.PageCont, 0, s.idx, gen)))
	}
	a.mem.Release(layout.Desc(first)+layout.DescInfo, k)
	a.mem.Store(layout.Desc(first)+layout.DescState, uint64(layout.MakeState(state, class, s.idx, gen)))
}

// freePages frees the pages of a slab, chunk or run that only the slot uses, after
// unlink has taken them off its structures. The record is written first. If recover
// finds it and the pages are still linked, nothing has happened; if they are not linked,
// redoFree goes on.
func (s *Slot) freePages(first, k uint64, unlink func()) {
	head := s.a.page(first)
	gen := head.Gen()
	if k > 1 {
		gen = s.a.page(first + layout.PageSize).Gen()
	}
	s.record(layout.RecFree, first, k, gen, head.Gen())
	unlink()
	s.a.mem.Add(layout.OffFreePages, k) // before they are free, so that redoFree does not count
	s.redoFree()
	s.endRecord()
	if k > 1 {
		s.noteFreed(first, k)
	}
}

// redoFree carries out a RecFree record. It can be repeated: a page that was freed and
// claimed by others has a newer generation.
func (s *Slot) redoFree() {
	a := s.a
	first := layout.Record(s.m.Word(s.base + layout.SlotRec)).Page()
	k := s.m.Word(s.base + layout.SlotRecPages)
	gen, headGen := s.m.Word(s.base+layout.SlotRecGen), s.m.Word(s.base+layout.SlotRecHeadGen)
	for i := k; i > 0; i-- {
		p, want := first+(i-1)*layout.PageSize, gen
		if i == 1 {
			want = headGen
		}
		st := a.page(p)
		if st.Free() || st.State() == layout.PageReserve || st.Gen() != want {
			continue
		}
		a.mem.Release(layout.Desc(p)+layout.DescInfo, 0)
		if k == 1 && int64(a.ro.Load(layout.OffReserve)) < int64(a.reserve()) {
			a.mem.Add(layout.OffReserve, 1)
			a.mem.Add(layout.OffFreePages, ^uint64(0))
			a.mem.Store(layout.Desc(p)+layout.DescState, uint64(layout.MakeState(layout.PageReserve, 0, 0, want+1)))
			a.hint(p, layout.HintReserve)
			return
		}
		free := uint64(layout.MakeState(layout.PageFree, 0, 0, want+1))
		if i == 1 || (p>>layout.PageShift)%layout.GroupPages == 0 || i == k {
			a.mem.Store(layout.Desc(p)+layout.DescState, free) // before the look at the hint
			a.hint(p, layout.HintFree)
		} else {
			a.mem.Release(layout.Desc(p)+layout.DescState, free)
		}
	}
}

// countReserve corrects the number of pages in reserve. Each death may make the number
// wrong by one, so adopters call it. A writer that changes the reserve at the same time
// may make the number too low by one until the next count, which leaves a page more in
// reserve.
func (a *Arena) countReserve() {
	for range 4 {
		counted, found := a.ReservePages()
		if counted == found || a.mem.CAS(layout.OffReserve, uint64(counted), uint64(found)) {
			return
		}
	}
}

// ReservePages returns the counted and the real number of pages in reserve.
func (a *Arena) ReservePages() (counted, found int64) {
	counted = int64(a.ro.Load(layout.OffReserve))
	a.searchFrom(hintsReserve, 0, func(uint64, layout.PageState) bool { found++; return false })
	return counted, found
}

// checkPages verifies a page offset and count that came from shared memory.
func (a *Arena) checkPages(at uint64, what string, first, k uint64) error {
	limit, err := a.Limit()
	if err != nil {
		return err
	}
	if first%layout.PageSize != 0 || first >= limit || first < layout.SegmentOf(first).First || k == 0 ||
		k > limit>>layout.PageShift || first+k*layout.PageSize > min(limit, layout.SegmentOf(first).Stop) {
		return region.Corrupt(at, what, first, "the offset of a page")
	}
	return nil
}
