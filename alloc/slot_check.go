package alloc

import (
	"fmt"

	"github.com/seed-869cc763/shmkv/alloc/layout"
	"github.com/seed-869cc763/shmkv/alloc/region"
)

// checkTail verifies a position in a queue.
func (s *Slot) checkTail(at uint64, pos layout.Place) error {
	if pos == 0 {
		return nil
	}
	if pos.Index() > layout.ChunkCap {
		return region.Corrupt(at, "position in a queue", pos, "a page and an index")
	}
	return s.a.checkPages(at, "page of a queue", pos.Page(), 1)
}

// checkLists verifies what the slot's page says before anything is done by it.
func (s *Slot) checkLists(committed bool) error {
	if err := s.checkTail(s.base+layout.SlotQueueHead, s.head); err != nil {
		return err
	}
	if err := s.checkTail(s.base+layout.SlotQueueTail, s.tail); err != nil {
		return err
	}
	if n := s.logTop.Index(); n > layout.SlotLogCap && n > layout.LogCap || len(s.logs) == 0 && n > layout.SlotLogCap {
		return region.Corrupt(s.base+layout.SlotLogTop, "items of a log", n, "fewer")
	}
	if !committed {
		if err := s.checkLog(); err != nil {
			return err
		}
	}
	if err := s.checkQueue(); err != nil {
		return err
	}
	for i, p := range s.deferred {
		if p != 0 {
			if err := s.checkChunk(s.base+layout.SlotDeferred+uint64(i)*8, p); err != nil {
				return err
			}
		}
	}
	if p := s.m.Word(s.base + layout.SlotLook); p != 0 {
		if err := s.checkChunk(s.base+layout.SlotLook, p); err != nil {
			return err
		}
	}
	for c := range layout.NumClasses {
		if p := s.slabs[c]; p != 0 {
			if err := s.a.checkPages(s.base+layout.SlotSlabs+uint64(c)*8, "slab of a slot", p, layout.Classes[c].Pages); err != nil {
				return err
			}
		}
		if err := s.checkMag(c); err != nil {
			return err
		}
	}
	return nil
}

// checkLog verifies that the log's items are the slot's to free.
func (s *Slot) checkLog() error {
	for i := range s.LogLen() {
		at := s.logItem(i)
		e := layout.Item(s.m.Word(at))
		if e == 0 {
			continue
		}
		off, c := e.Off(), e.Class()
		if c == layout.ClassPage {
			if err := s.a.checkPages(at, "page in a log", off, 1); err != nil {
				return err
			}
		} else if err := s.a.checkItem(at, off, c); err != nil {
			return err
		}
	}
	return nil
}

// checkQueue follows the queue from its head to its tail.
func (s *Slot) checkQueue() error {
	tail := s.tail.Page()
	for n, p := uint64(0), s.head.Page(); p != tail; n++ {
		if err := s.a.checkPages(p+layout.ChunkNext, "page of a queue", p, 1); err != nil {
			return err
		}
		if p = s.m.Word(p + layout.ChunkNext); n > s.a.end.Load()>>layout.PageShift {
			return region.Corrupt(s.base+layout.SlotQueueHead, "length of a queue", n, "an end")
		}
	}
	if s.head.Page() == tail && s.head > s.tail {
		return region.Corrupt(s.base+layout.SlotQueueHead, "head of a queue", s.head, fmt.Sprintf("at most the tail, %d", s.tail))
	}
	return nil
}

// checkChunk verifies a deferred page and the number of its items.
func (s *Slot) checkChunk(at, p uint64) error {
	if err := s.a.checkPages(at, "deferred page", p, 1); err != nil {
		return err
	}
	if !s.owns(p, layout.PageChunk) {
		return nil // given up already
	}
	if n := s.m.Word(p + layout.ChunkCount); n > layout.ChunkCap {
		return region.Corrupt(p+layout.ChunkCount, "items of a deferred page", n, fmt.Sprintf("at most %d", layout.ChunkCap))
	}
	return nil
}

// checkMag follows a magazine to its end. The block that is being given back,
// if it is still on top, may be somebody else's by now.
func (s *Slot) checkMag(c int) error {
	at, b := s.base+layout.SlotMags+uint64(c)*8, s.mags[c]
	if b != 0 && s.m.Word(s.base+layout.SlotReturn) == uint64(layout.MakeItem(b, c)) {
		at, b = s.base+layout.SlotReturnNext, s.m.Word(s.base+layout.SlotReturnNext)
	}
	for n := uint64(0); b != 0; n++ {
		if err := s.a.checkItem(at, b, c); err != nil {
			return err
		}
		if n > s.a.end.Load()/layout.Classes[c].Size {
			return region.Corrupt(s.base+layout.SlotMags+uint64(c)*8, "length of a magazine", n, "an end")
		}
		at, b = b+8, s.m.Word(b+8)
	}
	return nil
}
