package alloc

import (
	"errors"
	"fmt"

	"github.com/seed-869cc763/shmkv/alloc/region"
)

// recover puts a dead process's slot in order, acting as the slot. Every step
// finds the same if it is begun again.
func (s *Slot) recover() error {
	a := s.a
	s.mayTakeReserve = true
	defer func() { s.mayTakeReserve = false }()
	if _, err := a.Limit(); err != nil {
		return err
	}
	if s.head != 0 && s.tail == 0 {
		s.setTail(s.head)
	}
	// The intent (rule C2): was it committed? The root word first, then the
	// mark. What a committed log names may be anybody's by now, so it is not
	// looked at.
	node := a.ro.Load(s.base + slotIntent)
	committed := false
	if node != 0 {
		if err := s.checkEntry(s.base+slotIntent, node, classOf(rootSize)); err != nil {
			return err
		}
		current := a.ro.Load(offRoot)&offMask == node
		committed = current || a.ro.Load(node+rootSuperseded) != 0
	}
	// Committed: tail, log, then the intent. Not: the intent first.
	if committed {
		tail := s.m.Word(s.base + slotIntentTail)
		if err := s.checkTail(s.base+slotIntentTail, tail); err != nil {
			return err
		}
		s.setTail(tail)
	}
	if err := s.checkLists(committed); err != nil {
		return err
	}
	if committed {
		s.recoverRecord()
		s.dropLog()
	}
	if node != 0 {
		s.m.Store(s.base+slotIntent, 0)
	}
	s.unpin()

	// A block that was being given back.
	if w := s.m.Word(s.base + slotReturn); w != 0 {
		off, c := w&offMask, int(w>>48)
		if c >= numClasses || off < segments[0].first || off >= a.end.Load() {
			return region.Corrupt(s.base+slotReturn, "block being given back", fmt.Sprintf("%#x", w), "a block")
		}
		s.redoReturn(c, off)
		if s.mags[c] == off {
			s.setMag(c, s.m.Word(s.base+slotReturnNext))
		}
		s.unlinkRetired(func(block uint64) bool { return block&^rootFlag == w })
		s.m.SetWord(s.base+slotReturn, 0)
	}

	// Blocks that were being taken from a slab.
	if at := a.ro.Load(s.base + slotRefillAt); at != 0 {
		if err := s.recoverRefill(at); err != nil {
			return err
		}
	}

	s.recoverRecord()

	// A set-aside page that changed hands, or was closed to be looked through.
	for i, p := range s.aside {
		if p == 0 {
			continue
		}
		if !s.owns(p, pageChunk) || p == s.m.Word(s.base+slotLook) {
			a.announce(p)
			s.setAside(i, 0, 0)
		}
	}
	if p := s.m.Word(s.base + slotLook); p != 0 && !s.owns(p, pageChunk) {
		a.announce(p)
		s.setLook(0)
	}
	for c, p := range s.slabs {
		if p != 0 && !(s.owns(p, pageSlabOwned) && a.page(p).class() == c) {
			a.announce(p)
			s.setSlab(c, 0)
		}
	}

	// A block on its way from one list to another stands in both; the last
	// step is done here. In the log it wins over the magazine, whichever way
	// it went: all of the log is freed next.
	for i := range s.LogLen() {
		if e := s.m.Word(s.logEntry(i)); e != 0 {
			if c := int(e >> 48); c < numClasses && s.mags[c] == e&offMask {
				s.setMag(c, s.m.Word(s.mags[c]+8))
			}
		}
	}
	s.unlinkRetired(func(block uint64) bool {
		if c := int(block >> 48 & 0xff); c < numClasses && s.mags[c] == block&offMask {
			return true
		}
		for _, p := range s.aside {
			if p == 0 {
				continue
			}
			if n := s.m.Word(p + chunkCount); n > 0 && n <= chunkCap && s.m.Word(p+chunkEntries+(n-1)*chunkEntry) == block {
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

// unlinkRetired takes the block at the queue's head, and the last one of the
// page that is being looked through, off if gone says that it went elsewhere.
func (s *Slot) unlinkRetired(gone func(block uint64) bool) {
	if s.head != s.tail {
		if page, i := s.head&^(pageSize-1), s.head&(pageSize-1); i < chunkCap && gone(s.m.Word(page+chunkEntries+i*chunkEntry)) {
			s.setHead(s.head + 1)
		}
	}
	if p := s.m.Word(s.base + slotLook); p != 0 && s.owns(p, pageChunk) {
		if n := s.m.Word(p + chunkCount); n > 0 && n <= chunkCap && gone(s.m.Word(p+chunkEntries+(n-1)*chunkEntry)) {
			s.m.SetWord(p+chunkCount, n-1)
		}
	}
}

// recoverRefill finishes a refill whose bits were set; without them, nothing
// was taken.
func (s *Slot) recoverRefill(at uint64) error {
	a := s.a
	mask := s.m.Word(s.base + slotRefillMask)
	for c, p := range s.slabs {
		if p == 0 || !s.owns(p, pageSlabOwned) || a.page(p).class() != c {
			continue
		}
		d := desc(p) + descBitmap
		if at < d || at >= d+32 || at%8 != 0 {
			continue
		}
		i := int(at-d) / 8
		if mask == 0 || mask&^slabMask(c, i) != 0 {
			break
		}
		if a.ro.Load(at)&mask == mask {
			s.finishRefill(p, c, i, mask)
		}
		s.m.Store(s.base+slotRefillAt, 0)
		return nil
	}
	return region.Corrupt(s.base+slotRefillAt, "bitmap word of a refill", at, "one of an owned slab")
}

// recoverRecord finishes what the page record says. Whether the pages are
// linked into the slot decides.
func (s *Slot) recoverRecord() {
	a := s.a
	rec := s.m.Word(s.base + slotRec)
	if rec == 0 {
		return
	}
	p, kind := rec&^(pageSize-1), rec&(pageSize-1)
	n := s.m.Word(s.base + slotRecPages)
	gen, headGen := s.m.Word(s.base+slotRecGen), s.m.Word(s.base+slotRecHeadGen)
	if a.checkPages(s.base+slotRec, "", p, n) == nil && !s.linked(p) {
		switch kind {
		case recClaim:
			for i := range n {
				q := p + i*pageSize
				if st := a.page(q); !st.free() && st.owner() == s.idx && st.gen() == gen {
					a.mem.Store(desc(q)+descInfo, 0)
					a.mem.Store(desc(q)+descState, uint64(makeState(pageHole, 0, 0, gen+1)))
				} else if st.state() == pageFree && st.gen() < gen {
					a.mem.Add(offFreePages, 1) // it was not taken any more
				}
				a.announce(q)
			}
		case recFree:
			s.redoFree()
			for i := range n {
				a.announce(p + i*pageSize)
			}
		case recTake:
			st := a.page(p)
			if st.gen() == headGen && st.owner() == s.idx {
				switch st.state() {
				case pageSlabOwned:
					a.mem.Store(desc(p)+descState, uint64(makeState(pageSlabShared, st.class(), 0, headGen+1)))
				case pageChunk:
					a.mem.Store(desc(p)+descState, uint64(makeState(pageChunkShared, 0, 0, headGen+1)))
				}
			}
			a.announce(p)
		}
	}
	s.endRecord()
}

// announce sets the hint of what a page offers: who made it so may have died before.
func (a *Arena) announce(p uint64) {
	if bit := hintBit(a.page(p)); bit >= 0 {
		a.hint(p, bit)
	}
}

// linked reports whether a page is part of the slot's structures.
func (s *Slot) linked(p uint64) bool {
	for _, q := range s.slabs {
		if q == p {
			return true
		}
	}
	for _, q := range s.aside {
		if q == p {
			return true
		}
	}
	for _, q := range s.logs {
		if q == p {
			return true
		}
	}
	if s.head&^(pageSize-1) == p || s.tail&^(pageSize-1) == p || s.m.Word(s.base+slotLook) == p {
		return true
	}
	run := func(block uint64) bool { return block&offMask == p && block>>48&0xff >= classPage }
	for i := range s.LogLen() {
		if run(s.m.Word(s.logEntry(i))) {
			return true
		}
	}
	if s.head != s.tail {
		if page, i := s.head&^(pageSize-1), s.head&(pageSize-1); i < chunkCap && run(s.m.Word(page+chunkEntries+i*chunkEntry)) {
			return true
		}
	}
	if l := s.m.Word(s.base + slotLook); l != 0 && s.owns(l, pageChunk) {
		if n := s.m.Word(l + chunkCount); n > 0 && n <= chunkCap && run(s.m.Word(l+chunkEntries+(n-1)*chunkEntry)) {
			return true
		}
	}
	return false
}
