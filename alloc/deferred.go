package alloc

import (
	"errors"

	"github.com/seed-869cc763/shmkv/alloc/layout"
)

// deferBlock moves a block to the slot's deferred page for what holds it.
func (s *Slot) deferBlock(key heldKey, block layout.Item, retired uint64, unlink func()) error {
	p, err := s.deferredPage(key)
	if err != nil {
		return err
	}
	n := s.m.Word(p + layout.ChunkCount)
	e := layout.ItemAt(p, n)
	s.m.SetWord(e, uint64(block))
	s.m.SetWord(e+8, retired)
	s.m.SetWord(p+layout.ChunkCount, n+1)
	unlink()
	s.deferrals++
	s.a.held.Add(classBytes(block.Class()))
	return nil
}

func classBytes(c int) uint64 {
	if c == layout.ClassRun {
		return layout.MaxBlock // at least
	}
	return layout.Classes[c].Size
}

// deferredPage returns the slot's page for a key, with room in it. A full one, and
// another where there is no place for one more, it gives up.
func (s *Slot) deferredPage(key heldKey) (uint64, error) {
	free := -1
	for i, p := range s.deferred {
		if p != 0 && s.deferredKeys[i] == key {
			if n, err := s.a.deferredItems(p); err != nil {
				return 0, err
			} else if n < layout.ChunkCap {
				return p, nil
			}
			s.shareChunk(p, func() { s.setDeferred(i, 0, 0) })
		}
		if s.deferred[i] == 0 {
			free = i
		}
	}
	p, err := s.claimPages(1)
	if err != nil {
		return 0, err
	}
	s.become(p, 1, layout.PageChunk, 0)
	s.m.Store(p+layout.ChunkKey, uint64(key))
	s.m.SetWord(p+layout.ChunkCount, 0)
	if free < 0 {
		free = s.deferredNext
		s.deferredNext = (free + 1) % layout.DeferredCount
		// Two pages are linked at this place, one after the other: the record
		// names the new one, which is freed if the slot dies before.
		s.shareChunkUnder(s.deferred[free])
	}
	s.setDeferred(free, p, key)
	s.endRecord()
	return p, nil
}

func (s *Slot) setDeferred(i int, p uint64, key heldKey) {
	s.deferred[i], s.deferredKeys[i] = p, key
	s.m.SetWord(s.base+layout.SlotDeferred+uint64(i)*8, p)
}

// shareChunk gives a deferred page up, for anybody to take.
func (s *Slot) shareChunk(p uint64, unlink func()) {
	s.shareChunkUnder(p)
	unlink()
}

func (s *Slot) shareChunkUnder(p uint64) {
	a := s.a
	st := a.page(p)
	a.mem.Store(layout.Desc(p)+layout.DescState, uint64(layout.MakeState(layout.PageChunkShared, 0, 0, st.Gen()+1)))
	a.hint(p, layout.HintChunk)
}

// testPins looks for dead processes when pins hold much: rule P4, at doubling
// amounts.
func (a *Arena) testPins() error {
	if a.held.Load() < a.testAt.Load() {
		return nil
	}
	a.held.Store(0)
	n, err := a.AdoptDead()
	if n > 0 {
		a.testAt.Store(testPinsBytes)
	} else {
		a.testAt.Store(min(2*a.testAt.Load(), 1<<36))
	}
	return err
}

const testPinsBytes = 1 << 20

// relieve frees everything that can be freed, when there is no space left
// (rule B6). It reports whether that was anything.
func (s *Slot) relieve() bool {
	if s.relieving {
		return false
	}
	s.relieving = true
	defer func() { s.relieving = false }()
	a := s.a
	before := int64(a.ro.Load(layout.OffFreePages))
	freed := s.freed
	n, err := a.AdoptDead()
	if err != nil {
		return false
	}
	hinted := a.ro.Load(layout.OffHintSeq)
	for i := range layout.MaxProcs {
		a.announceNoted(i) // its handle may be stopped
	}
	for i := range a.pages.miss {
		a.pages.miss[i].Store(0)
	}
	if err := s.reclaim(a.Version(), 1<<30); err != nil && !errors.Is(err, ErrFull) {
		return false
	}
	if s.emptyMags() != nil {
		return false
	}
	for i := range min(int(a.ro.Load(layout.OffSlotHigh)), layout.MaxSlots) {
		if a.emptyIdle(i) {
			n++
		}
	}
	return n > 0 || s.freed > freed || int64(a.ro.Load(layout.OffFreePages)) > before || a.ro.Load(layout.OffHintSeq) != hinted
}
