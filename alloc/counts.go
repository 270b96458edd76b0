package alloc

import "github.com/seed-869cc763/shmkv/alloc/layout"

// Counts are what writers have counted of their work. They lie in the slots'
// pages, so they outlive processes; a slot's owner adds to its own without
// atomics, and anybody reads them. Nothing is decided by them. A death can lose
// what was counted in its last moment.
type Counts struct {
	Commits      uint64
	Changes      uint64 // entries that commits set or deleted
	Lost         uint64 // commits that another one overtook
	Refused      uint64 // tries to write that ended with ErrFull
	FreedBlocks  uint64 // retired blocks that were freed
	AsideBlocks  uint64 // retired blocks that were set aside; one may be several times
	PunchedPages uint64 // free pages whose memory was given back
	AdoptedSlots uint64 // slots taken over from the dead
}

// Words of a slot's counters, in a cache line of their own. Stores that were
// made before there were any have zeros here.
const (
	countCommits = layout.SlotCounts + 8*iota
	countChanges
	countLost
	countRefused
	countFreed
	countAside
	countPunched
	countAdopted
)

// count adds n to one of the slot's counters.
func (s *Slot) count(word, n uint64) {
	if n > 0 {
		s.m.SetWord(s.base+word, s.m.Word(s.base+word)+n)
	}
}

// CountChanges adds to the entries that commits have set or deleted.
func (s *Slot) CountChanges(n uint64) { s.count(countChanges, n) }

// CountRefused adds a try to write that ended with ErrFull.
func (s *Slot) CountRefused() { s.count(countRefused, 1) }

// Add adds those of another slot.
func (c *Counts) Add(d Counts) {
	c.Commits += d.Commits
	c.Changes += d.Changes
	c.Lost += d.Lost
	c.Refused += d.Refused
	c.FreedBlocks += d.FreedBlocks
	c.AsideBlocks += d.AsideBlocks
	c.PunchedPages += d.PunchedPages
	c.AdoptedSlots += d.AdoptedSlots
}

// Counts sums up over all slots that were ever used.
func (a *Arena) Counts() (sum Counts) {
	for i := range min(int(a.ro.Load(layout.OffSlotHigh)), layout.MaxSlots) {
		sum.Add(a.slotCounts(i))
	}
	return sum
}

// slotCounts reads the counters of slot i.
func (a *Arena) slotCounts(i int) Counts {
	base := a.ro.Load(layout.OffDir + uint64(i)*8)
	if base == 0 || base%layout.PageSize != 0 || base > a.end.Load()-layout.PageSize {
		return Counts{} // none, or one being made, or damage, which loadSlot tells
	}
	w := func(word uint64) uint64 { return a.ro.Load(base + word) }
	return Counts{w(countCommits), w(countChanges), w(countLost), w(countRefused),
		w(countFreed), w(countAside), w(countPunched), w(countAdopted)}
}
