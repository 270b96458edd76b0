package alloc

import (
	"errors"
	"math"
	"slices"

	"github.com/seed-869cc763/shmkv/alloc/layout"
)

// claimPages takes k free pages in a row for the slot and backs them. The
// slot's record names them (kind recClaim) until the caller has linked them
// into one of the slot's structures and called endRecord.
func (s *Slot) claimPages(k uint64) (first uint64, err error) {
	if p := s.claimFreed(k); p != 0 {
		return p, nil
	}
	for tries := 0; ; tries++ {
		first, err = s.tryClaim(k)
		if errors.Is(err, errNoneFree) {
			if len(s.avoid) > 0 {
				err = ErrFull // what is moved takes what is there
				break
			}
			if err = s.a.extend(k); err == nil {
				continue
			}
		}
		if !errors.Is(err, ErrFull) {
			return first, err
		}
		// Before it gives up, it frees all garbage (rule B6).
		if tries == 3 || !s.relieve() {
			break
		}
	}
	leave := s.leaveReserve
	if !s.mayTakeReserve {
		leave = s.a.reserve()
	}
	if k == 1 && s.a.ro.Load(layout.OffReserve) > leave {
		if p := s.claimReserve(); p != 0 {
			return p, nil
		}
	}
	return 0, noRoom(k, err)
}

var errNoneFree = errors.New("no free pages")

// A freedRun is free pages in a row: a hint.
type freedRun struct{ first, pages uint64 }

// noteFreed remembers pages in a row that were freed. To find as many in a row again
// takes a look at many descriptors, and these may still be in the processor's cache.
func (s *Slot) noteFreed(first, k uint64) {
	if len(s.freedRuns) == cap(s.freedRuns) {
		s.freedRuns = append(s.freedRuns[:0], s.freedRuns[1:]...)
	}
	s.freedRuns = append(s.freedRuns, freedRun{first, k})
}

// claimFreed claims k pages in a row that the slot has freed lately and that are free
// still, or returns 0.
func (s *Slot) claimFreed(k uint64) uint64 {
	for i := len(s.freedRuns) - 1; i >= 0; i-- {
		r := s.freedRuns[i]
		if r.pages != k || s.avoids(r.first) {
			continue
		}
		s.freedRuns = slices.Delete(s.freedRuns, i, i+1)
		if s.a.allFree(r.first, k) && s.claimAt(r.first, k, k) == nil {
			return r.first
		}
	}
	return 0
}

// allFree reports whether k pages in a row are free, with memory behind them. An
// attempt to claim some that are not would make holes of the others and leave the
// memory there, where nobody gives it back.
func (a *Arena) allFree(first, k uint64) bool {
	for i := range k {
		if a.page(first+i*layout.PageSize).State() != layout.PageFree {
			return false
		}
	}
	return true
}

// tryClaim claims k free pages in a row below the end: pages that have memory behind
// them if it soon finds some. In a store that cannot grow it spares longer rows, if it
// soon finds one that is as long as that: they are hard to make again.
func (s *Slot) tryClaim(k uint64) (first uint64, err error) {
	if s.a.end.Load() >= s.a.most() {
		if first, err = s.claimRow(hintsRoom, k, fitLooks, true); err == nil {
			return first, nil
		}
	}
	if first, err = s.claimRow(hintsFree, k, fitLooks, false); err == nil {
		return first, nil
	}
	return s.claimRow(hintsRoom, k, math.MaxInt, false)
}

// fitLooks is at how many free pages tryClaim looks for a row of the kind that it likes
// best.
const fitLooks = 256

// claimRow does that with a bounded number of looks at free pages. If fits is set, it
// takes no part of a longer row. Once the file system has refused memory for a hole, it
// looks only for pages that have memory.
func (s *Slot) claimRow(want hintMask, k uint64, looks int, fits bool) (first uint64, err error) {
	a := s.a
	err = errNoneFree
	var run uint64
	a.search(want, func(p uint64, st layout.PageState) bool {
		if looks--; looks < 0 {
			return true
		}
		if err != errNoneFree && st.State() == layout.PageHole || s.avoids(p) {
			run = 0
			return false
		}
		if run == 0 || p != first+run*layout.PageSize || layout.SegmentOf(p) != layout.SegmentOf(first) {
			run, first = 0, p
		}
		if run++; run < k {
			return false
		}
		if fits && (run > k || a.goesOn(first, k)) {
			return false
		}
		run = 0
		n := k
		if k == 1 && st.State() == layout.PageHole {
			n = s.holesFrom(p)
		}
		e := s.claimAt(first, k, n)
		if e == nil || e != errNoneFree {
			err = e
		}
		return e == nil || !errors.Is(e, ErrFull) && e != errNoneFree
	})
	return first, err
}

// goesOn reports whether a row of k free pages is part of a longer one.
func (a *Arena) goesOn(first, k uint64) bool {
	g, next := layout.SegmentOf(first), first+k*layout.PageSize
	return first > g.First && a.page(first-layout.PageSize).Free() ||
		next < min(g.Stop, a.end.Load()) && a.page(next).Free()
}

// holesFrom returns how many holes to back at once, from the hole p on.
func (s *Slot) holesFrom(p uint64) uint64 {
	a := s.a
	end := a.end.Load()
	batch := min(max(end>>(layout.PageShift+6), 4), 64)
	n := uint64(1)
	for q := p + layout.PageSize; n < batch && q < min(end, layout.SegmentOf(p).Stop) && a.page(q).State() == layout.PageHole; q += layout.PageSize {
		n++
	}
	return n
}

// claimAt claims n pages from p, backs them, keeps the first k and gives the
// others back as free pages with memory behind them: one system call for many.
func (s *Slot) claimAt(p, k, n uint64) error {
	a := s.a
	var gen, free, holes uint64
	for i := range n {
		st := a.page(p + i*layout.PageSize)
		if gen = max(gen, st.Gen()); st.State() == layout.PageFree {
			free++
		}
	}
	gen++
	s.record(layout.RecClaim, p, n, gen, gen)
	a.mem.Add(layout.OffFreePages, -free) // before they are taken: see recoverRecord
	var got uint64
	for ; got < n; got++ {
		q := p + got*layout.PageSize
		st := a.page(q)
		if !st.Free() || st.Gen() >= gen || !a.casPage(q, st, layout.MakeState(layout.PageClaimed, 0, s.idx, gen)) {
			break
		}
		if st.State() == layout.PageHole {
			holes++
		}
	}
	if taken := got - holes; taken != free {
		a.mem.Add(layout.OffFreePages, free-taken)
	}
	if got < k {
		s.unclaim(p, got, gen, holes == 0)
		return errNoneFree
	}
	if holes > 0 {
		if err := a.b.back(p, got*layout.PageSize); err != nil {
			if got > k {
				s.unclaim(p+k*layout.PageSize, got-k, gen, false)
				got = k
				err = a.b.back(p, got*layout.PageSize)
			}
			if err != nil {
				s.unclaim(p, got, gen, false)
				return err
			}
		}
	}
	for i := k; i < got; i++ {
		q := p + i*layout.PageSize
		a.mem.Add(layout.OffFreePages, 1)
		a.mem.Store(layout.Desc(q)+layout.DescState, uint64(layout.MakeState(layout.PageFree, 0, 0, gen+1)))
	}
	if got > k {
		a.hint(p+k*layout.PageSize, layout.HintFree)
	}
	return nil
}

// unclaim makes claimed pages free again, or holes if not all have memory behind them,
// and drops the record if it names just these.
func (s *Slot) unclaim(p, n, gen uint64, backed bool) {
	state, bit := layout.PageHole, layout.HintHole
	if backed {
		state, bit = layout.PageFree, layout.HintFree
		s.a.mem.Add(layout.OffFreePages, n)
	}
	for i := range n {
		q := p + i*layout.PageSize
		s.a.mem.Store(layout.Desc(q)+layout.DescState, uint64(layout.MakeState(state, 0, 0, gen+1)))
		s.a.hint(q, bit)
	}
	if layout.Record(s.m.Word(s.base+layout.SlotRec)).Page() == p {
		s.endRecord()
	}
}

// reserve is how many pages are kept in reserve. A new store has ReservePages. In a
// small store anybody may take the pages beyond reserve once there are no others.
func (a *Arena) reserve() uint64 {
	return min(max(a.super.MaxSize>>17, layout.ReservePages/2), layout.ReservePages)
}

// claimReserve takes a page of the reserve, or returns 0.
func (s *Slot) claimReserve() (page uint64) {
	a := s.a
	a.search(hintsReserve, func(p uint64, st layout.PageState) bool {
		s.record(layout.RecClaim, p, 1, st.Gen()+1, st.Gen()+1)
		if a.casPage(p, st, layout.MakeState(layout.PageClaimed, 0, s.idx, st.Gen()+1)) {
			a.mem.Add(layout.OffReserve, ^uint64(0))
			s.tookReserve = s.tookReserve || a.ro.Load(layout.OffReserve) < a.reserve()
			page = p
			return true
		}
		s.endRecord()
		return false
	})
	return page
}
