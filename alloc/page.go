package alloc

import (
	"errors"
	"math"
	"math/bits"
	"slices"
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

// hint announces that there may be something of a kind in a page's group. It
// is called after the page has become so; a death in between is made good by
// the adopter, who does it again.
func (a *Arena) hint(p uint64, bit int) {
	word, seg := hintWord(p), offSegHints+uint64(bits.Len64(p>>20))*8
	news := false
	for _, w := range [...]uint64{word, seg} {
		if a.mem.Load(w)&(1<<bit) == 0 {
			a.mem.Or(w, 1<<bit)
			news = true
		}
	}
	if news {
		a.mem.Add(offHintSeq, 1)
	}
}

// A hintMask is hint bits: what a search is for.
type hintMask uint64

const (
	hintsFree    hintMask = 1 << hintFree // pages with memory behind them
	hintsRoom             = hintsFree | 1<<hintHole
	hintsChunk   hintMask = 1 << hintChunk
	hintsReserve hintMask = 1 << hintReserve
)

// hintsOf is the mask of a size class.
func hintsOf(class int) hintMask { return 1 << hintOf(class) }

// hintBit returns the hint bit of what a page in that state may offer, or -1.
func hintBit(st pageState) int {
	switch st.state() {
	case pageHole:
		return hintHole
	case pageFree:
		return hintFree
	case pageSlabShared:
		if st.class() < numClasses {
			return hintOf(st.class())
		}
	case pageChunkShared:
		return hintChunk
	case pageReserve:
		return hintReserve
	}
	return -1
}

// offers reports whether a page has what a search is for.
func (a *Arena) offers(p uint64, st pageState, want hintMask) bool {
	bit := hintBit(st)
	return bit >= 0 && want>>bit&1 != 0 && (st.state() != pageSlabShared || a.clearBits(p, st.class()))
}

// slabMask is the bits of bitmap word i that stand for blocks of the class.
func slabMask(class, i int) uint64 {
	n := int(classes[class].blocks) - 64*i
	switch {
	case n <= 0:
		return 0
	case n >= 64:
		return ^uint64(0)
	}
	return 1<<n - 1
}

// clearBits reports whether a slab has a free block.
func (a *Arena) clearBits(p uint64, class int) bool {
	d := desc(p) + descBitmap
	for i := range 4 {
		if m := slabMask(class, i); a.ro.Load(d+uint64(i)*8)&m != m {
			return true
		}
	}
	return false
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

// search calls try for pages that offer what is wanted, until it returns true. It
// begins behind the last page that was found and then looks at all, some for a
// second time, and takes down the hints of groups where nothing is.
func (a *Arena) search(want hintMask, try func(p uint64, st pageState) bool) bool {
	bit := bits.Len64(uint64(want)) - 1
	seq := a.ro.Load(offHintSeq) + 1
	if a.pages.miss[bit].Load() == seq {
		return false
	}
	start := min(a.pages.next[bit].Load(), a.end.Load())
	offered := false
	visit := func(p uint64, st pageState) bool {
		offered = true
		if try(p, st) {
			a.pages.next[bit].Store(p + pageSize)
			return true
		}
		return false
	}
	if a.searchFrom(want, start, visit) || a.searchFrom(want, 0, visit) {
		return true
	}
	if !offered {
		a.pages.miss[bit].Store(seq)
	}
	return false
}

// searchFrom calls visit for the pages from an offset on that offer what is wanted,
// until it returns true. It takes down the hints of what lies behind the offset as a
// whole, and only then: those of other groups tell of pages that it has not seen.
func (a *Arena) searchFrom(want hintMask, from uint64, visit func(uint64, pageState) bool) bool {
	mask := uint64(want)
	limit := a.end.Load()
	const groupSize = groupPages << pageShift
	for k := range segments {
		g := &segments[k]
		if g.start >= limit {
			break
		}
		seg := offSegHints + uint64(k)*8
		if g.stop <= from || a.ro.Load(seg)&mask == 0 {
			continue
		}
		any := from > g.start
		for base := g.start; base < min(g.stop, limit); base += groupSize {
			if base+groupSize <= from || a.ro.Load(hintWord(base))&mask == 0 {
				continue
			}
			any = true
			found, hit := a.searchGroup(want, max(base, from), limit, visit)
			if hit {
				return true
			}
			if !found && base >= from && a.noteHints(base) {
				// Nothing here: take the hint down, then look again for
				// what was announced in between.
				a.mem.And(hintWord(base), ^mask)
				now, _ := a.Limit()
				a.searchGroup(want, base, now, func(p uint64, st pageState) bool {
					a.hint(p, hintBit(st))
					return false
				})
				a.hintsNoted()
			}
		}
		if !any && a.noteHints(g.start) {
			a.mem.And(seg, ^mask)
			now, _ := a.Limit()
			for base := g.start; base < min(g.stop, now); base += groupSize {
				if again := a.ro.Load(hintWord(base)) & mask; again != 0 {
					a.mem.Or(seg, again)
					a.mem.Add(offHintSeq, 1)
				}
			}
			a.hintsNoted()
		}
	}
	return false
}

// noteHints writes down in the handle's entry that it is about to take hints of the
// group at base, or of its segment, down. Between that and its second look they may
// hide pages that were announced just before: if the handle dies there, its adopter
// announces them again; if it is stopped there, whoever finds no space does. It
// reports false if the hints must stay: they only cost others a look.
func (a *Arena) noteHints(base uint64) bool {
	if !a.Writable() || a.entry < 0 || !a.hinting.TryLock() {
		return false
	}
	a.noteGroup(base, hintNote)
	return true
}

func (a *Arena) noteGroup(off, what uint64) {
	a.shared.Store(entryAt(a.entry)+entryHints, off&^(groupPages<<pageShift-1)|what)
}

// hintsNoted drops the note: what it names is announced again, as far as it has to be.
func (a *Arena) hintsNoted() {
	a.shared.Store(entryAt(a.entry)+entryHints, 0)
	a.hinting.Unlock()
}

// What the note in an entry names.
const (
	hintNote    = 1 // one group
	hintNoteEnd = 2 // and all from there to the end, which is being raised
)

// announceNoted sets the hints again that the handle of an entry may have taken down.
// The note stands in slots, which readers can write: a wrong one sets hints where
// nothing is.
func (a *Arena) announceNoted(entry int) {
	note := a.shared.Load(entryAt(entry) + entryHints)
	base := note &^ (groupPages<<pageShift - 1)
	end := a.end.Load()
	if note == 0 || base >= end {
		return
	}
	g := segmentOf(base)
	stop := base + groupPages<<pageShift
	if note&hintNoteEnd != 0 {
		stop = end
	}
	for p := base; p < min(stop, end); p += pageSize {
		if p >= segmentOf(p).first {
			a.announce(p)
		}
	}
	seg := offSegHints + uint64(bits.Len64(base>>20))*8
	for b := g.start; b < min(g.stop, end); b += groupPages << pageShift {
		if news := a.ro.Load(hintWord(b)) &^ a.ro.Load(seg); news != 0 {
			a.mem.Or(seg, news)
			a.mem.Add(offHintSeq, 1)
		}
	}
}

// searchGroup looks at the pages from the given one to the end of its group. It
// reports whether one offers what is looked for, and whether visit took one.
func (a *Arena) searchGroup(want hintMask, from, limit uint64, visit func(uint64, pageState) bool) (found, hit bool) {
	g := segmentOf(from)
	stop := min((from|(groupPages<<pageShift-1))+1, limit)
	for p := max(from, g.first); p < stop; p += pageSize {
		if st := a.page(p); a.offers(p, st, want) {
			found = true
			if visit(p, st) {
				return true, true
			}
		}
	}
	return found, false
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
		// Before giving up, everything that can be freed is (rule B6).
		if tries == 3 || !s.relieve() {
			break
		}
	}
	leave := s.leaveReserve
	if !s.mayTakeReserve {
		leave = s.a.reserve()
	}
	if k == 1 && s.a.ro.Load(offReserve) > leave {
		if p := s.claimReserve(); p != 0 {
			return p, nil
		}
	}
	return 0, noRoom(k, err)
}

var errNoneFree = errors.New("no free pages")

// A freedRun is free pages in a row: a hint.
type freedRun struct{ first, pages uint64 }

// noteFreed remembers pages in a row that were freed. Finding so many again takes
// a look at many descriptors, and these may still be in the processor's cache.
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
		if a.page(first+i*pageSize).state() != pageFree {
			return false
		}
	}
	return true
}

// tryClaim claims k free pages in a row below the end: pages that have memory behind
// them if it soon finds some. In a store that cannot grow it spares longer rows, if it
// soon finds one that is as long as that: they are hard to make again.
func (s *Slot) tryClaim(k uint64) (first uint64, err error) {
	if s.a.end.Load() >= s.a.super.maxSize {
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

// claimRow does so, with so many looks at free pages at most. If it is to fit, the row
// is no part of a longer one. Once memory for a hole was refused, it looks only for
// pages that have theirs.
func (s *Slot) claimRow(want hintMask, k uint64, looks int, fits bool) (first uint64, err error) {
	a := s.a
	err = errNoneFree
	var run uint64
	a.search(want, func(p uint64, st pageState) bool {
		if looks--; looks < 0 {
			return true
		}
		if err != errNoneFree && st.state() == pageHole || s.avoids(p) {
			run = 0
			return false
		}
		if run == 0 || p != first+run*pageSize || segmentOf(p) != segmentOf(first) {
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
		if k == 1 && st.state() == pageHole {
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
	g, next := segmentOf(first), first+k*pageSize
	return first > g.first && a.page(first-pageSize).free() ||
		next < min(g.stop, a.end.Load()) && a.page(next).free()
}

// holesFrom returns how many holes to back at once, from the hole p on.
func (s *Slot) holesFrom(p uint64) uint64 {
	a := s.a
	end := a.end.Load()
	batch := min(max(end>>(pageShift+6), 4), 64)
	n := uint64(1)
	for q := p + pageSize; n < batch && q < min(end, segmentOf(p).stop) && a.page(q).state() == pageHole; q += pageSize {
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
		st := a.page(p + i*pageSize)
		if gen = max(gen, st.gen()); st.state() == pageFree {
			free++
		}
	}
	gen++
	s.record(recClaim, p, n, gen, gen)
	a.mem.Add(offFreePages, -free) // before they are taken: see recoverRecord
	var got uint64
	for ; got < n; got++ {
		q := p + got*pageSize
		st := a.page(q)
		if !st.free() || st.gen() >= gen || !a.casPage(q, st, makeState(pageClaimed, 0, s.idx, gen)) {
			break
		}
		if st.state() == pageHole {
			holes++
		}
	}
	if taken := got - holes; taken != free {
		a.mem.Add(offFreePages, free-taken)
	}
	if got < k {
		s.unclaim(p, got, gen, holes == 0)
		return errNoneFree
	}
	if holes > 0 {
		if err := a.b.back(p, got*pageSize); err != nil {
			if got > k {
				s.unclaim(p+k*pageSize, got-k, gen, false)
				got = k
				err = a.b.back(p, got*pageSize)
			}
			if err != nil {
				s.unclaim(p, got, gen, false)
				return err
			}
		}
	}
	for i := k; i < got; i++ {
		q := p + i*pageSize
		a.mem.Add(offFreePages, 1)
		a.mem.Store(desc(q)+descState, uint64(makeState(pageFree, 0, 0, gen+1)))
	}
	if got > k {
		a.hint(p+k*pageSize, hintFree)
	}
	return nil
}

// unclaim makes claimed pages free again, or holes if not all have memory behind them,
// and drops the record if it names just these.
func (s *Slot) unclaim(p, n, gen uint64, backed bool) {
	state, bit := pageHole, hintHole
	if backed {
		state, bit = pageFree, hintFree
		s.a.mem.Add(offFreePages, n)
	}
	for i := range n {
		q := p + i*pageSize
		s.a.mem.Store(desc(q)+descState, uint64(makeState(state, 0, 0, gen+1)))
		s.a.hint(q, bit)
	}
	if s.m.Word(s.base+slotRec)&^(pageSize-1) == p {
		s.endRecord()
	}
}

// reserve is how many pages are kept in reserve. A new store has reservePages; those
// beyond are for anybody, in a small store, once there are no others.
func (a *Arena) reserve() uint64 {
	return min(max(a.super.maxSize>>17, reservePages/2), reservePages)
}

// claimReserve takes a page of the reserve, or returns 0.
func (s *Slot) claimReserve() (page uint64) {
	a := s.a
	a.search(hintsReserve, func(p uint64, st pageState) bool {
		s.record(recClaim, p, 1, st.gen()+1, st.gen()+1)
		if a.casPage(p, st, makeState(pageClaimed, 0, s.idx, st.gen()+1)) {
			a.mem.Add(offReserve, ^uint64(0))
			s.tookReserve = s.tookReserve || a.ro.Load(offReserve) < a.reserve()
			page = p
			return true
		}
		s.endRecord()
		return false
	})
	return page
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
