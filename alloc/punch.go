package alloc

import (
	"time"

	"github.com/seed-869cc763/shmkv/alloc/layout"
)

// firstHole is the time between the announcement of holes and the first.
const firstHole = 100 * time.Millisecond

// mayPunch reports whether holes may be made in place of pages that readers know of. It
// announces holes, and permits them a moment later. By then optimistic reads have ended
// that began before the announcement and so have no guard. A reader that is stopped for
// longer in the middle of its first such read is not protected from a hole if the file
// system is full.
func (a *Arena) mayPunch() bool {
	now := uint64(time.Now().UnixNano())
	since := a.ro.Load(layout.OffPunched)
	if since == 0 || since > now { // none yet, or the clock was put back
		a.mem.CAS(layout.OffPunched, since, now)
		since = now
	}
	return now-since >= uint64(a.pace.holes)
}

// A row is neighbouring free pages that are to become holes.
type row struct{ first, pages uint64 }

// longestRow is how many pages one call punches at most.
const longestRow = 1024

// add adds a page that is free to the row, and reports whether it could.
func (r *row) add(p uint64) bool {
	if r.pages == 0 {
		r.first = p
	} else if p != r.first+r.pages*layout.PageSize || layout.SegmentOf(p) != layout.SegmentOf(r.first) || r.pages == longestRow {
		return false
	}
	r.pages++
	return true
}

// punchFree gives the memory of free pages back to the file system, in address order
// from an offset on. It bounds the shortest row, the pages in all, and the calls of the
// file system. It returns how many pages it took, and where the next call goes on, or 0
// at the end.
func (s *Slot) punchFree(from, least uint64, pages int64, calls int) (given int64, next uint64) {
	a := s.a
	for given < pages && calls > 0 {
		var r row
		found := a.searchFrom(hintsFree, from, func(p uint64, _ layout.PageState) bool {
			if r.add(p) {
				return int64(r.pages) == pages-given
			}
			if r.pages >= least {
				return true
			}
			r = row{p, 1}
			return false
		})
		if r.pages >= least {
			given += s.punch(r.first, r.pages)
			calls--
		}
		if !found {
			return given, 0
		}
		from = r.first + r.pages*layout.PageSize
	}
	return given, from
}

// punch gives the memory of up to n free pages back, and returns how many it got.
func (s *Slot) punch(p, n uint64) int64 {
	a := s.a
	var gen uint64
	for i := range n {
		gen = max(gen, a.page(p+i*layout.PageSize).Gen())
	}
	gen++
	s.record(layout.RecClaim, p, n, gen, gen)
	a.mem.Add(layout.OffFreePages, -n) // before they are taken: see recoverRecord
	var got uint64
	for ; got < n; got++ {
		q := p + got*layout.PageSize
		st := a.page(q)
		if st.State() != layout.PageFree || st.Gen() >= gen || !a.casPage(q, st, layout.MakeState(layout.PageClaimed, 0, s.idx, gen)) {
			break
		}
	}
	if got < n {
		a.mem.Add(layout.OffFreePages, n-got)
	}
	if got > 0 {
		if err := a.b.punch(p, got*layout.PageSize); err != nil {
			a.debug("punching a hole failed", "err", err)
		} else {
			s.count(CountPunched, got)
		}
	}
	s.unclaim(p, got, gen, false)
	return int64(got)
}
