package alloc

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/seed-869cc763/shmkv/alloc/layout"
	"github.com/seed-869cc763/shmkv/alloc/region"
)

// Slot is one writer's place in the store: its intent, log, magazines, slabs and queue of
// retired blocks. All of that is in the slot's page, so that a death loses nothing. The
// fields here are copies for speed, and the state of one transaction. One goroutine uses
// a slot at a time.
type Slot struct {
	a    *Arena
	m    *region.Mem
	idx  int
	base uint64 // the slot's page
	mark layout.Head

	tally region.Mem // of the handle: see tallyOf

	owner    layout.Owner    // what the slot's word says while it is in use
	handover region.Handover // from one user to the next
	place    uint32          // in the pool

	mags     [layout.NumClasses]uint64
	magLen   [layout.NumClasses]int // blocks known to be there
	taken    [layout.NumClasses]int // blocks allocated since the last pass
	need     [layout.NumClasses]int // see thinMags
	unused   [layout.NumClasses]int // looks since the last was taken
	slabs    [layout.NumClasses]uint64
	logTop   layout.Place // and the number of items in it
	logs     []uint64     // further log pages, oldest first
	head     layout.Place // of the queue
	tail     layout.Place
	deferred [layout.DeferredCount]uint64

	// One transaction.
	root    Root
	light   bool // it holds no pin
	retired []retiredBlock
	delta   int64 // bytes of blocks allocated less retired

	// Reclaiming.
	retiredBytes uint64 // since the last pass
	commits      uint64 // since the last pass
	passes       uint64
	freedRuns    []freedRun
	view         scan
	deferredKeys [layout.DeferredCount]heldKey
	deferredNext int    // page that makes room next
	freed        uint64 // blocks
	deferrals    uint64 // blocks

	brief          bool        // the transaction runs no foreign code
	gate           layout.Gate // the gate that the slot has closed, or 0
	closed         time.Time
	mayTakeReserve bool
	relieving      bool
	tookReserve    bool   // since TookReserve was asked
	leaveReserve   uint64 // pages of it that the slot may not take
	avoid          []span // windows that the slot is emptying, by address
}

type retiredBlock struct {
	block layout.Item
	size  uint64
}

// AllowReserve says whether the slot may take the last pages, until it is
// released: for transactions that free more than they take.
func (s *Slot) AllowReserve(may bool) { s.mayTakeReserve = may }

// claimSlot takes a slot that nobody owns. If there is none, or no page for a new one, it
// adopts the slots of dead processes and takes idle ones.
func (a *Arena) claimSlot(frees bool) (*Slot, error) {
	s, err := a.claimFreeSlot(frees)
	if s != nil || err != nil && !errors.Is(err, ErrFull) {
		return s, err
	}
	if _, err := a.AdoptDead(); err != nil {
		return nil, err
	}
	for i := range layout.MaxSlots {
		a.emptyIdle(i)
	}
	s, err = a.claimFreeSlot(frees)
	if s == nil && err == nil {
		err = fmt.Errorf("%w: all %d writers' slots are in use", ErrTooManyWriters, layout.MaxSlots)
	}
	return s, err
}

// claimFreeSlot takes a slot that nobody owns, first one that was used before, or
// returns nil. It passes over a slot that is damaged, and returns that error only if it
// finds no other slot.
func (a *Arena) claimFreeSlot(frees bool) (*Slot, error) {
	var damaged error
	for _, used := range [...]bool{true, false} {
		for i := range layout.MaxSlots {
			if (a.ro.Load(layout.OffDir+uint64(i)*8) != 0) != used || a.ro.Load(layout.OffOwners+uint64(i)*8) != 0 {
				continue
			}
			owner := a.owner.Claim(a.slots.claims.Add(1))
			if !a.mem.CAS(layout.OffOwners+uint64(i)*8, 0, uint64(owner)) {
				continue
			}
			// Raised before the slot pins or intends anything: see takeScan.
			a.mem.Max(layout.OffSlotHigh, uint64(i)+1)
			s, err := a.openSlot(i, frees)
			if err != nil {
				a.mem.Store(layout.OffOwners+uint64(i)*8, 0)
				if !errors.Is(err, region.ErrCorrupt) {
					return nil, err
				}
				a.debug("a slot is damaged", "slot", i, "err", err)
				damaged = cmp.Or(damaged, fmt.Errorf("claiming slot %d: %w", i, err))
				continue
			}
			s.owner = owner
			return s, nil
		}
	}
	return nil, damaged
}

// openSlot readies slot i, which the caller has claimed, for use.
func (a *Arena) openSlot(i int, frees bool) (*Slot, error) {
	page, err := a.slotPage(i)
	if err == nil && page == 0 {
		page, err = a.makeSlotPage(i, frees)
	}
	if err != nil {
		return nil, err
	}
	s, err := a.loadSlot(i, page)
	if err != nil {
		return nil, err
	}
	return s, s.recover() // a released slot is in order already, unless it is damaged
}

// slotPage returns the page of slot i, which the caller holds, or 0. A claim
// that was not finished is undone.
func (a *Arena) slotPage(i int) (uint64, error) {
	dir := layout.OffDir + uint64(i)*8
	d := layout.DirWord(a.ro.Load(dir))
	p := d.Page()
	if d == 0 {
		return 0, nil
	}
	if err := a.checkPages(dir, "page of a slot", p, 1); err != nil {
		return 0, err
	}
	if !d.IsMaking() {
		return p, nil
	}
	if st := a.page(p); st.State() == layout.PageSlot && st.Owner() == i {
		a.mem.Store(layout.Desc(p)+layout.DescState, uint64(layout.MakeState(layout.PageHole, 0, 0, st.Gen()+1)))
	}
	a.announce(p)
	a.mem.Store(dir, 0)
	return 0, nil
}

// loadSlot reads the page of a slot that the caller holds. It and recover check the
// words, which come from shared memory.
func (a *Arena) loadSlot(i int, page uint64) (*Slot, error) {
	if got := a.mem.Word(page + layout.SlotIndex); got != uint64(i)+1 {
		return nil, region.Corrupt(page, "index of a slot", got, fmt.Sprint(i+1))
	}
	s := &Slot{a: a, m: &a.mem, idx: i, base: page, mark: layout.MakeMark(i), tally: a.tallyOf(i), freedRuns: make([]freedRun, 0, freedCap)}
	w := func(off uint64) uint64 { return s.m.Word(page + off) }
	for c := range layout.NumClasses {
		s.mags[c] = w(layout.SlotMags + uint64(c)*8)
		s.slabs[c] = w(layout.SlotSlabs + uint64(c)*8)
	}
	for i := range s.deferred {
		s.deferred[i] = w(layout.SlotDeferred + uint64(i)*8)
		if p := s.deferred[i]; p != 0 {
			if err := a.checkPages(page+layout.SlotDeferred, "deferred page", p, 1); err != nil {
				return nil, err
			}
			s.deferredKeys[i] = heldKey(w(p - page + layout.ChunkKey))
		}
	}
	s.head, s.tail, s.logTop = layout.Place(w(layout.SlotQueueHead)), layout.Place(w(layout.SlotQueueTail)), layout.Place(w(layout.SlotLogTop))
	if s.logTop == 0 {
		s.logTop = layout.Place(page)
	}
	return s, s.loadLog()
}

// makeSlotPage gives slot i, which the caller holds, its page. The directory names the
// page, marked as not finished, before the page is claimed. If frees is set and there is
// no other page, it takes one of the reserve: a delete needs a slot, too.
func (a *Arena) makeSlotPage(i int, frees bool) (uint64, error) {
	dir := layout.OffDir + uint64(i)*8
	for want := hintsFree; ; {
		err := errNoneFree
		var page uint64
		a.search(want, func(p uint64, st layout.PageState) bool {
			a.mem.Store(dir, uint64(layout.MakingPage(p)))
			next := layout.MakeState(layout.PageSlot, 0, i, st.Gen()+1)
			if !a.casPage(p, st, next) {
				a.mem.Store(dir, 0)
				return false
			}
			if st.State() == layout.PageFree {
				a.mem.Add(layout.OffFreePages, ^uint64(0))
			} else if st.State() == layout.PageReserve {
				a.mem.Add(layout.OffReserve, ^uint64(0))
			} else if e := a.b.back(p, layout.PageSize); e != nil {
				a.mem.Store(layout.Desc(p)+layout.DescState, uint64(layout.MakeState(layout.PageHole, 0, 0, next.Gen()+1)))
				a.hint(p, layout.HintHole)
				a.mem.Store(dir, 0)
				err = e
				return false
			}
			page, err = p, nil
			return true
		})
		if page != 0 {
			a.mem.Zero(page, layout.PageSize)
			a.mem.SetWord(page+layout.SlotIndex, uint64(i)+1)
			a.mem.Store(dir, page) // publishes the page to scans
			return page, nil
		}
		if want == hintsReserve {
			return 0, ErrFull
		}
		if want == hintsFree {
			want = hintsRoom
			continue
		}
		if err == errNoneFree {
			err = a.extend(1)
		}
		if errors.Is(err, ErrFull) && frees {
			want = hintsReserve
		} else if err != nil {
			return 0, err
		}
	}
}

// Index is the slot's number, below MaxSlots. No two slots that are in use at one time
// have the same.
func (s *Slot) Index() int { return s.idx }

// Mem is the read-write view of data.
func (s *Slot) Mem() region.Mem { return *s.m }
