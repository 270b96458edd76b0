package alloc

import (
	"errors"
	"fmt"
	"slices"

	"github.com/seed-869cc763/shmkv/alloc/layout"
	"github.com/seed-869cc763/shmkv/alloc/region"
)

// recover puts the slot of a dead process in order, in the name of the slot. Every step
// can be repeated.
func (s *Slot) recover() error {
	a := s.a
	s.mayTakeReserve = true
	defer func() { s.mayTakeReserve = false }()
	if _, err := a.Limit(); err != nil {
		return err
	}
	// The intent (rule C2): was it committed?
	w := s.walk()
	node, committed, err := w.intent()
	if err == nil {
		err = w.visit(checkOnly{})
	}
	if err != nil {
		return err
	}
	if s.head != 0 && s.tail == 0 {
		s.setTail(s.head)
	}
	// Committed: tail, log, then the intent. Not: the intent first.
	if committed {
		s.setTail(w.place(layout.SlotIntentTail))
		s.recoverRecord()
		s.dropLog()
	}
	if node != 0 {
		s.m.Store(s.base+layout.SlotIntent, 0)
	}
	s.unpin()

	// A block that was being given back.
	if w := layout.Item(s.m.Word(s.base + layout.SlotReturn)); w != 0 {
		off, c := w.Off(), w.Class()
		if c >= layout.NumClasses || off < layout.Segments[0].First || off >= a.end.Load() {
			return region.Corrupt(s.base+layout.SlotReturn, "block being given back", fmt.Sprintf("%#x", w), "a block")
		}
		s.redoReturn(c, off)
		if s.mags[c] == off {
			s.setMag(c, s.m.Word(s.base+layout.SlotReturnNext))
		}
		s.unlinkRetired(func(block layout.Item) bool { return block.Block() == w })
		s.m.SetWord(s.base+layout.SlotReturn, 0)
	}

	// Blocks that were being taken from a slab.
	if at := a.ro.Load(s.base + layout.SlotRefillAt); at != 0 {
		if err := s.recoverRefill(at); err != nil {
			return err
		}
	}

	s.recoverRecord()

	// A deferred page that changed hands, or was closed to be looked through.
	for i, p := range s.deferred {
		if p == 0 {
			continue
		}
		if !s.owns(p, layout.PageChunk) || p == s.m.Word(s.base+layout.SlotLook) {
			a.announce(p)
			s.setDeferred(i, 0, 0)
		}
	}
	if p := s.m.Word(s.base + layout.SlotLook); p != 0 && !s.owns(p, layout.PageChunk) {
		a.announce(p)
		s.setLook(0)
	}
	for c, p := range s.slabs {
		if p != 0 && !w.ownsSlab(p, c) {
			a.announce(p)
			s.setSlab(c, 0)
		}
	}

	// A block that moves from one list to another is in both; the last step is made
	// here. The log wins over the magazine, in both directions: the whole log is
	// freed next.
	for i := range s.LogLen() {
		if e := layout.Item(s.m.Word(s.logItem(i))); e != 0 {
			if c := e.Class(); c < layout.NumClasses && s.mags[c] == e.Off() {
				s.setMag(c, s.m.Word(s.mags[c]+8))
			}
		}
	}
	s.unlinkRetired(func(block layout.Item) bool {
		if c := block.Class(); c < layout.NumClasses && s.mags[c] == block.Off() {
			return true
		}
		for _, p := range s.deferred {
			if p == 0 {
				continue
			}
			if last := a.lastItem(p); last != 0 && layout.Item(s.m.Word(last)) == block {
				return true
			}
		}
		return false
	})

	s.Rewind(0)
	if err := s.flush(); err != nil && !errors.Is(err, ErrFull) {
		return err
	}
	return nil
}

// owns reports whether a page is in a state that makes it this slot's.
func (s *Slot) owns(p uint64, state int) bool { return s.a.ownedBy(s.idx, p, state) }

// unlinkRetired takes off the block at the queue's head, and the last one of the page
// that is being drained, if gone reports that it has moved to another list.
func (s *Slot) unlinkRetired(gone func(block layout.Item) bool) {
	first, last := s.walk().retiredEnds()
	if first != 0 && gone(layout.Item(s.m.Word(first))) {
		s.setHead(s.head + 1)
	}
	if last != 0 && gone(layout.Item(s.m.Word(last))) {
		p := layout.PageOf(last)
		s.m.SetWord(p+layout.ChunkCount, s.m.Word(p+layout.ChunkCount)-1)
	}
}

// recoverRefill finishes a refill whose bits are set. If they are clear, the refill took
// no blocks.
func (s *Slot) recoverRefill(at uint64) error {
	a := s.a
	p, c, word, mask := s.walk().refill()
	if p == 0 {
		return region.Corrupt(s.base+layout.SlotRefillAt, "bitmap word of a refill", at, "one of an owned slab")
	}
	if a.ro.Load(at)&mask == mask {
		s.finishRefill(p, c, word, mask)
	}
	s.m.Store(s.base+layout.SlotRefillAt, 0)
	return nil
}

// recoverRecord finishes or undoes the change in the page record. It depends on whether
// the pages are linked into the slot.
func (s *Slot) recoverRecord() {
	a := s.a
	rec := layout.Record(s.m.Word(s.base + layout.SlotRec))
	if rec == 0 {
		return
	}
	p := rec.Page()
	n := s.m.Word(s.base + layout.SlotRecPages)
	gen, headGen := s.m.Word(s.base+layout.SlotRecGen), s.m.Word(s.base+layout.SlotRecHeadGen)
	if a.checkPages(s.base+layout.SlotRec, "", p, n) == nil && !s.linked(p) {
		switch rec.Kind() {
		case layout.RecClaim:
			for i := range n {
				q := p + i*layout.PageSize
				if st := a.page(q); !st.Free() && st.Owner() == s.idx && st.Gen() == gen {
					a.mem.Store(layout.Desc(q)+layout.DescInfo, 0)
					a.mem.Store(layout.Desc(q)+layout.DescState, uint64(layout.MakeState(layout.PageHole, 0, 0, gen+1)))
				} else if st.State() == layout.PageFree && st.Gen() < gen {
					a.mem.Add(layout.OffFreePages, 1) // it was not taken any more
				}
				a.announce(q)
			}
		case layout.RecFree:
			s.redoFree()
			for i := range n {
				a.announce(p + i*layout.PageSize)
			}
		case layout.RecTake:
			st := a.page(p)
			if st.Gen() == headGen && st.Owner() == s.idx {
				switch st.State() {
				case layout.PageSlabOwned:
					a.mem.Store(layout.Desc(p)+layout.DescState, uint64(layout.MakeState(layout.PageSlabShared, st.Class(), 0, headGen+1)))
				case layout.PageChunk:
					a.mem.Store(layout.Desc(p)+layout.DescState, uint64(layout.MakeState(layout.PageChunkShared, 0, 0, headGen+1)))
				}
			}
			a.announce(p)
		}
	}
	s.endRecord()
}

// announce sets the hint of a page, because the process that changed the page may have
// died before it did.
func (a *Arena) announce(p uint64) {
	if bit := hintBit(a.page(p)); bit >= 0 {
		a.hint(p, bit)
	}
}

// linked reports whether a page is part of the slot's structures.
func (s *Slot) linked(p uint64) bool {
	if slices.Contains(s.slabs[:], p) || slices.Contains(s.deferred[:], p) || slices.Contains(s.logs, p) ||
		s.head.Page() == p || s.tail.Page() == p || s.m.Word(s.base+layout.SlotLook) == p {
		return true
	}
	run := func(at uint64) bool {
		block := layout.Item(s.m.Word(at))
		return block.Off() == p && block.Class() >= layout.ClassPage
	}
	for i := range s.LogLen() {
		if run(s.logItem(i)) {
			return true
		}
	}
	first, last := s.walk().retiredEnds()
	return first != 0 && run(first) || last != 0 && run(last)
}
