package alloc

import (
	"fmt"
	"math"
	"time"

	"github.com/seed-869cc763/shmkv/alloc/layout"
	"github.com/seed-869cc763/shmkv/alloc/region"
)

const (
	// A slot makes a pass every passCommits commits, or earlier when it has retired
	// a quarter of lagBytes since the last one.
	passCommits = 32
	// Reclamation lags by at most lagCommits commits, so that optimistic readers
	// rarely find the horizon past their root. It lags by fewer if these hold more
	// than lagBytes, because a block should come back while it is in the processor's
	// cache.
	lagCommits = 128
	// Every needPasses passes a slot finds out which free blocks it needs, and gives
	// up to thinBlocks of the others back. It keeps fewBlocks of each class, and none
	// of a class from which it has taken none in unusedLooks such looks.
	needPasses  = 4
	thinBlocks  = 64
	fewBlocks   = 16
	unusedLooks = 16
	// looksPerPass is how many shared deferred pages a pass looks at.
	looksPerPass = 4
	// A pass reads the birth of each retired block, and prefetches that of the one so many
	// items behind it.
	settleAhead = 16
	// freedCap is how many freed runs of pages a slot remembers.
	freedCap = 16
)

// pace is how often, and how late, a handle does work that can wait. In handles of a
// test's heap nothing waits.
type pace struct {
	commits, lag uint64        // commits between two passes, and the most that one lags
	holes        time.Duration // from the announcement of holes to the first hole: see mayPunch
	settle       time.Duration // how long memory is unused before it goes back: see Keep
	slack        uint64        // free bytes that slabs may have beyond their share
}

func (a *Arena) lagBytes() uint64 { return min(max(a.end.Load()/32, 16<<10), 1<<20) }

// ReclaimIfDue reclaims what this slot has retired, now and then. It is called after
// End, so that the slot's own pin holds nothing.
func (s *Slot) ReclaimIfDue() error {
	if s.commits < s.a.pace.commits && s.retiredBytes < s.a.lagBytes()/4 {
		return nil
	}
	lag := min(s.a.lagBytes()*s.commits/max(s.retiredBytes, 1), s.a.pace.lag)
	s.commits, s.retiredBytes = 0, 0
	version := s.a.Version()
	if err := s.reclaim(version-min(lag, version-1), looksPerPass); err != nil {
		return err
	}
	if s.passes++; s.passes%needPasses == 0 {
		if err := s.thinMags(); err != nil {
			return err
		}
	}
	return s.a.testPins()
}

// Shrink gives back all that nobody uses: garbage that nothing holds, what idle
// slots of all processes keep, and the memory behind free pages. It is called
// outside of transactions.
func (s *Slot) Shrink() error {
	a := s.a
	if _, err := a.AdoptDead(); err != nil {
		return err
	}
	for i := range min(int(a.ro.Load(layout.OffSlotHigh)), layout.MaxSlots) {
		a.emptyIdle(i)
	}
	if err := s.reclaim(a.Version(), 1<<30); err != nil {
		return err
	}
	if err := s.emptyMags(); err != nil {
		return err
	}
	for !a.mayPunch() {
		time.Sleep(a.pace.holes / 8)
	}
	s.punchFree(0, 1, math.MaxInt64, math.MaxInt)
	return nil
}

// reclaim frees the blocks that were retired up to version h and that nothing holds,
// defers the others, and counts both.
func (s *Slot) reclaim(h uint64, looks int) error {
	if _, err := s.a.Limit(); err != nil {
		return err
	}
	// Deferring blocks takes pages. When there are none, that must not begin
	// another pass within this one; it may use the reserve.
	relieving, reserve := s.relieving, s.mayTakeReserve
	s.relieving, s.mayTakeReserve = true, true
	defer func() { s.relieving, s.mayTakeReserve = relieving, reserve }()
	freed, deferrals := s.freed, s.deferrals
	err := s.pass(h, looks)
	s.count(CountFreed, s.freed-freed)
	s.count(CountDeferred, s.deferrals-deferrals)
	return err
}

// pass does that. It raises the horizon before it scans the pins (rule P1), and judges
// only blocks that were retired before the scan (rule P2).
func (s *Slot) pass(h uint64, looks int) error {
	a := s.a
	if p := s.m.Word(s.base + layout.SlotLook); p != 0 && s.owns(p, layout.PageChunk) { // an earlier pass ran out of space
		s.shareChunk(p, func() { s.setLook(0) })
	}
	a.mem.Max(layout.OffHorizon, h)
	a.takeScan(&s.view)
	for s.head != s.tail {
		page, i := s.head.Page(), s.head.Index()
		if i == layout.ChunkCap {
			next := s.m.Word(page + layout.ChunkNext)
			if err := a.checkPages(page+layout.ChunkNext, "next page of a queue", next, 1); err != nil {
				return err
			}
			s.freePages(page, 1, func() { s.setHead(layout.Place(next)) })
			continue
		}
		e := layout.ItemAt(page, i)
		block, retired := layout.Item(s.m.Word(e)), s.m.Word(e+8)
		if retired > h {
			break
		}
		if ahead := s.head + settleAhead; i+settleAhead < layout.ChunkCap && (page != s.tail.Page() || ahead < s.tail) {
			s.prefetch(layout.Item(s.m.Word(layout.ItemAt(page, ahead.Index()))))
		}
		if err := s.settle(e, block, retired, func() { s.setHead(s.head + 1) }); err != nil {
			return err
		}
	}
	for i := range s.deferred {
		p := s.deferred[i] // now: draining another page may have filled this one up, and shared it
		if p != 0 && !s.view.still(s.deferredKeys[i]) {
			s.setLook(p)
			s.setDeferred(i, 0, 0)
			if err := s.drain(p, h); err != nil {
				return err
			}
		}
	}
	return s.lookAtShared(h, looks)
}

// prefetch prefetches the block of a list's item, which may be any word.
func (s *Slot) prefetch(item layout.Item) {
	if off := item.Off(); off < s.a.end.Load() {
		s.m.Prefetch(off)
	}
}

// lookAtShared drains deferred pages that nobody owns and whose pin is gone.
func (s *Slot) lookAtShared(h uint64, looks int) error {
	a := s.a
	for looks > 0 {
		taken := uint64(0)
		a.search(hintsChunk, func(p uint64, st layout.PageState) bool {
			looks--
			if s.view.still(heldKey(a.ro.Load(p+layout.ChunkKey))) || a.laterThan(p, h) {
				return looks == 0
			}
			if s.takeShared(p, st, layout.PageChunk, func() { s.setLook(p) }) {
				taken = p
			}
			return taken != 0
		})
		if taken == 0 {
			return nil
		}
		if err := s.drain(taken, h); err != nil {
			return err
		}
	}
	return nil
}

// laterThan reports whether drain could settle nothing of a deferred page, because its
// last item was retired after h. Drain would give the page back, and the search would
// find it again for ever.
func (a *Arena) laterThan(p, h uint64) bool {
	last := a.lastItem(p)
	return last != 0 && a.ro.Load(last+8) > h
}

func (s *Slot) setLook(p uint64) { s.m.SetWord(s.base+layout.SlotLook, p) }

// drain settles the items of the page p, the last one first, and frees the page. The
// slot's page names p, for recover. Blocks that were retired after h wait for another
// pass.
func (s *Slot) drain(p, h uint64) error {
	n, err := s.a.deferredItems(p)
	if err != nil {
		return err
	}
	for ; n > 0; n-- {
		e := layout.ItemAt(p, n-1)
		block, retired := layout.Item(s.m.Word(e)), s.m.Word(e+8)
		if retired > h {
			s.shareChunk(p, func() { s.setLook(0) })
			return nil
		}
		if err := s.settle(e, block, retired, func() { s.m.SetWord(p+layout.ChunkCount, n-1) }); err != nil {
			return err
		}
	}
	s.freePages(p, 1, func() { s.setLook(0) })
	return nil
}

// settle frees a retired block, or defers it under the pin or intent that holds it.
// unlink takes it off the list that it was in.
func (s *Slot) settle(at uint64, block layout.Item, retired uint64, unlink func()) error {
	off, c, isRoot := block.Off(), block.Class(), block.IsRoot()
	if err := s.checkPlace(at, off, c); err != nil {
		return err
	}
	// A stamp in the place of the birth is of a process that had found that nothing
	// holds the block, and died before it gave the block back.
	if birth := s.m.Word(off); layout.Head(birth).IsReturn() {
		if err := s.checkUsed(off, c); err != nil {
			return err
		}
	} else {
		if birth >= retired {
			return region.Corrupt(off, "birth of a retired block", birth, fmt.Sprintf("less than %d", retired))
		}
		if key := s.view.holds(off, birth, retired, isRoot); key != 0 {
			return s.deferBlock(key, block, retired, unlink)
		}
	}
	s.freed++
	switch {
	case c == layout.ClassRun:
		s.freePages(off, s.a.runPages(off), unlink)
	case s.magLen[c] < max(layout.Classes[c].Keep, 2*s.need[c]) && !s.avoids(off):
		s.pushMag(c, off)
		unlink()
	default:
		if err := s.a.checkItem(at, off, c); err != nil {
			return err
		}
		s.giveBack(c, off, 0, unlink)
	}
	return nil
}

// checkPlace verifies a list's item so far that the block can be touched. It does not
// read the descriptor of the page, which is rarely in the processor's cache.
func (s *Slot) checkPlace(at, off uint64, c int) error {
	if c < layout.NumClasses && off%8 == 0 && off >= layout.Segments[0].First && off+layout.Classes[c].Size <= s.a.end.Load() {
		return nil
	}
	return s.a.checkItem(at, off, c)
}

// emptyIdle takes an idle slot, whose owner may be alive or dead, gives everything back
// that it holds, and releases it.
func (a *Arena) emptyIdle(i int) bool {
	word := layout.OffOwners + uint64(i)*8
	owner := layout.Owner(a.ro.Load(word))
	if !owner.IsIdle() || !a.mem.CAS(word, uint64(owner), uint64(a.owner)) {
		return false
	}
	page, err := a.slotPage(i)
	if err == nil && page != 0 {
		var s *Slot
		if s, err = a.loadSlot(i, page); err == nil {
			err = s.recover()
		}
	}
	if err != nil {
		a.debug("emptying an idle slot failed", "slot", i, "err", err)
	}
	a.mem.Store(word, 0)
	return err == nil
}
