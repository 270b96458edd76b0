package alloc

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/alloc/layout"
	"github.com/seed-869cc763/shmkv/alloc/region"
)

// commit makes an empty commit.
func commit(t *testing.T, a *Arena) {
	t.Helper()
	s, err := a.Slot(Brief)
	require.NoError(t, err)
	_, err = s.Begin()
	require.NoError(t, err)
	won, err := s.Commit(&[PayloadWords]uint64{})
	require.NoError(t, err)
	require.True(t, won)
	s.End()
	a.Release(s)
}

// A handle whose idle slot was emptied by others may claim it again while the Slot
// that stood for it before is still in the handle's pool: that one, which does not
// know what has become of the slot, is not used again.
func TestSlotTakenAndClaimedAgain(t *testing.T) {
	h, err := NewHeap(layout.MinSize)
	require.NoError(t, err)
	a, _, err := h.Attach(nil)
	require.NoError(t, err)
	other, _, err := h.Attach(nil)
	require.NoError(t, err)

	former, err := a.Slot(Brief)
	require.NoError(t, err)
	a.Release(former)
	require.True(t, other.emptyIdle(former.idx))
	again, err := a.claimSlot(false) // as when the pool was empty a moment ago
	require.NoError(t, err)
	require.Equal(t, former.idx, again.idx)
	a.Release(again)

	first, err := a.Slot(Brief)
	require.NoError(t, err)
	require.Same(t, again, first)
	second, err := a.Slot(Brief)
	require.NoError(t, err)
	require.NotEqual(t, first.idx, second.idx)
	a.Release(first)
	a.Release(second)
	require.NoError(t, a.Close())
	require.NoError(t, other.Close())
}

// Of a run that a slot has freed, of which others have taken one page and punched another,
// the remaining pages stay free, with their memory.
func TestFreedRunTakenInPart(t *testing.T) {
	h, err := NewHeap(layout.MinSize)
	require.NoError(t, err)
	a, _, err := h.Attach(nil)
	require.NoError(t, err)
	var slots [2]*Slot
	for i := range slots {
		slots[i], err = a.Slot(Brief)
		require.NoError(t, err)
	}
	s, other := slots[0], slots[1]
	const k = 8
	p, err := s.claimPages(k)
	require.NoError(t, err)
	s.become(p, k, layout.PageRun, 0)
	s.endRecord()
	s.freePages(p, k, func() {})
	before, found := a.FreePages()
	require.Equal(t, before, found)

	q := p + k/2*layout.PageSize
	require.NoError(t, other.claimAt(q, 1, 1))
	require.EqualValues(t, 1, other.punch(p+layout.PageSize, 1))
	require.Zero(t, s.claimFreed(k))
	counted, found := a.FreePages()
	require.Equal(t, before-2, found)
	require.Equal(t, before-2, counted)

	other.become(q, 1, layout.PageRun, 0)
	other.endRecord()
	other.freePages(q, 1, func() {})
	for _, s := range slots {
		a.Release(s)
	}
	require.NoError(t, a.Close())
}

// A slot that nobody owns is put in order by whoever takes it: the one who released
// it may have failed to, and its page is in memory that others can damage.
func TestFreeSlotIsPutInOrder(t *testing.T) {
	h, err := NewHeap(1 << 20)
	require.NoError(t, err)
	a, _, err := h.Attach(nil)
	require.NoError(t, err)
	commit(t, a)
	require.NoError(t, a.Close())
	m := h.Mem()
	require.Zero(t, m.Load(layout.OffOwners))
	page := m.Load(layout.OffDir)

	// A record of a page, as a claim leaves that did not end.
	free := uint64(0)
	a, _, err = h.Attach(nil)
	require.NoError(t, err)
	require.NoError(t, a.eachPage(t.Context(), a.FileBytes(), func(p uint64, st layout.PageState) error {
		if st.Free() && free == 0 {
			free = p
		}
		return nil
	}))
	require.NotZero(t, free)
	st := a.page(free)
	m.Store(layout.Desc(free), uint64(layout.MakeState(layout.PageClaimed, 0, 0, st.Gen()+1)))
	m.SetWord(page+layout.SlotRecPages, 1)
	m.SetWord(page+layout.SlotRecGen, st.Gen()+1)
	m.SetWord(page+layout.SlotRecHeadGen, st.Gen()+1)
	m.SetWord(page+layout.SlotRec, free|layout.RecClaim)
	commit(t, a)
	require.True(t, a.page(free).Free(), "the page of the claim is lost")
	require.NoError(t, a.Close())
}

// A death between a change of the reserve and its count, or the other way round, leaves
// a wrong count, which the adopter corrects: many deaths do not add up.
func TestDeathsAndReserve(t *testing.T) {
	h, err := NewHeap(1 << 20)
	require.NoError(t, err)
	heir, _, err := h.Attach(nil)
	require.NoError(t, err)
	counted, found := heir.ReservePages()
	require.Equal(t, int64(layout.ReservePages), found)
	require.Equal(t, found, counted)
	for n, change := range []func(a *Arena, s *Slot, p uint64, st layout.PageState){
		// As claimReserve does.
		func(a *Arena, s *Slot, p uint64, st layout.PageState) {
			s.record(layout.RecClaim, p, 1, st.Gen()+1, st.Gen()+1)
			require.True(t, a.casPage(p, st, layout.MakeState(layout.PageClaimed, 0, s.idx, st.Gen()+1)))
		},
		// As makeSlotPage does.
		func(a *Arena, s *Slot, p uint64, st layout.PageState) {
			require.True(t, a.mem.CAS(layout.OffOwners+8*9, 0, uint64(s.owner)))
			a.mem.Max(layout.OffSlotHigh, 10)
			a.mem.Store(layout.OffDir+8*9, p|1)
			require.True(t, a.casPage(p, st, layout.MakeState(layout.PageSlot, 0, 9, st.Gen()+1)))
		},
		// As freePages does.
		func(a *Arena, s *Slot, _ uint64, _ layout.PageState) {
			p := s.claimReserve()
			s.become(p, 1, layout.PageChunk, 0)
			s.record(layout.RecFree, p, 1, a.page(p).Gen(), a.page(p).Gen())
			a.mem.Add(layout.OffFreePages, 1)
			a.mem.Add(layout.OffReserve, 1)
		},
	} {
		a, die, err := h.Attach(nil)
		require.NoError(t, err)
		s, err := a.Slot(Brief)
		require.NoError(t, err)
		var page uint64
		a.search(hintsReserve, func(p uint64, _ layout.PageState) bool { page = p; return true })
		change(a, s, page, a.page(page))
		die()
		dead, err := heir.AdoptDead()
		require.NoError(t, err)
		require.Equal(t, 1, dead)
		counted, found := heir.ReservePages()
		require.Equal(t, found, counted, "change %d", n)
	}
}

// A damaged slot that nobody owns keeps nobody from writing.
func TestDamagedSlotIsPassedOver(t *testing.T) {
	h, err := NewHeap(layout.MinSize)
	require.NoError(t, err)
	a, _, err := h.Attach(nil)
	require.NoError(t, err)
	commit(t, a)
	require.NoError(t, a.Close())
	m := h.Mem()
	base := layout.DirWord(m.Load(layout.OffDir)).Page()
	m.SetWord(base+layout.SlotLogTop, base+400)

	other, _, err := h.Attach(nil)
	require.NoError(t, err)
	commit(t, other)
	ledger, err := other.Ledger(context.Background(), func(Root, func(off, size uint64) error) error { return nil }, nil)
	require.NoError(t, err)
	require.Contains(t, fmt.Sprint(ledger.Problems), "items of a log")
	for i := range layout.MaxSlots { // no other slot is free
		m.CAS(layout.OffOwners+uint64(i)*8, 0, uint64(other.owner))
	}
	m.Store(layout.OffOwners, 0)
	_, err = other.claimSlot(false)
	require.ErrorIs(t, err, region.ErrCorrupt)
	require.Contains(t, err.Error(), "claiming slot 0")
}
