package alloc

import (
	"github.com/seed-869cc763/shmkv/alloc/layout"
	"github.com/seed-869cc763/shmkv/alloc/region"
)

// Counts are what writers have counted of their work, by the Count constants. They lie
// in the slots' pages, in a cache line of their own, so they outlive processes. A slot's
// owner adds to its own without atomics, and anybody reads them. Nothing is decided by
// them. A death can lose the counts of its last moment.
type Counts [numCounts]uint64

// The indices of Counts, in the order of the format.
const (
	CountCommits  = iota
	CountChanges  // entries that commits set or deleted
	CountLost     // commits that another one overtook
	CountRefused  // tries to write that ended with ErrFull
	CountFreed    // retired blocks that were freed
	CountDeferred // retired blocks that were deferred; one may be several times
	CountPunched  // free pages whose memory was given back
	CountAdopted  // slots taken over from the dead
	numCounts
)

// count adds n to one of the slot's counters, and to the handle's own.
func (s *Slot) count(i, n uint64) {
	if at := s.base + layout.SlotCounts + 8*i; n > 0 {
		s.m.SetWord(at, s.m.Word(at)+n)
		s.tally.SetWord(8*i, s.tally.Word(8*i)+n)
	}
}

// tallyOf returns the Counts of what this handle has done with slot i, in memory of the
// process. Whoever in this handle holds the slot calls it and adds to them.
func (a *Arena) tallyOf(i int) region.Mem {
	t := a.tallies[i].Load()
	if t == nil {
		words := region.FromWords(make([]uint64, numCounts))
		t = &words
		a.tallies[i].Store(t)
	}
	return *t
}

// Tally sums up the Counts of what this handle alone has done since it was opened.
func (a *Arena) Tally() (sum Counts) {
	for i := range a.tallies {
		if t := a.tallies[i].Load(); t != nil {
			for j := range sum {
				sum[j] += t.Word(8 * uint64(j))
			}
		}
	}
	return sum
}

// CountChanges adds to the entries that commits have set or deleted.
func (s *Slot) CountChanges(n uint64) { s.count(CountChanges, n) }

// CountRefused adds a try to write that ended with ErrFull.
func (s *Slot) CountRefused() { s.count(CountRefused, 1) }

// Counts sums up over all slots that were ever used.
func (a *Arena) Counts() (sum Counts) {
	for i := range min(int(a.ro.Load(layout.OffSlotHigh)), layout.MaxSlots) {
		for j, n := range a.slotCounts(i) {
			sum[j] += n
		}
	}
	return sum
}

// slotCounts reads the counters of slot i.
func (a *Arena) slotCounts(i int) (c Counts) {
	w, err := a.walkOf(i)
	if w == nil || err != nil {
		return c // none, or one being made, or damage, which loadSlot tells
	}
	for j := range c {
		c[j] = w.word(layout.SlotCounts + 8*uint64(j))
	}
	return c
}
