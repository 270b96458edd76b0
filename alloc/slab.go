package alloc

import (
	"errors"
	"math/bits"

	"github.com/seed-869cc763/shmkv/alloc/layout"
	"github.com/seed-869cc763/shmkv/alloc/region"
)

func (s *Slot) setMag(c int, b uint64) {
	s.mags[c] = b
	s.m.SetWord(s.base+layout.SlotMags+uint64(c)*8, b)
}

func (s *Slot) setSlab(c int, p uint64) {
	s.slabs[c] = p
	s.m.SetWord(s.base+layout.SlotSlabs+uint64(c)*8, p)
}

// pushMag puts a block on the slot's magazine of its class: linked to the one
// below first, then on top. The caller takes it out of where it was next.
func (s *Slot) pushMag(c int, b uint64) {
	s.m.SetWord(b+8, s.mags[c])
	s.setMag(c, b)
	s.magLen[c]++
}

// refill brings free blocks of a slab into the empty magazine (rule B1): note
// which, link them, set exactly their bits at once, put them on top. While its
// bit is clear nobody else touches a block.
func (s *Slot) refill(c int) error {
	for {
		p := s.slabs[c]
		if p == 0 {
			if err := s.takeSlab(c); err != nil {
				return err
			}
			p = s.slabs[c]
		}
		d := layout.Desc(p) + layout.DescBitmap
		for i := range 4 {
			at := d + uint64(i)*8
			if mask := slabMask(c, i) &^ s.a.ro.Load(at); mask != 0 {
				s.m.SetWord(s.base+layout.SlotRefillMask, mask)
				s.m.Store(s.base+layout.SlotRefillAt, at)
				s.linkRefill(p, c, i, mask)
				s.m.Or(at, mask)
				s.finishRefill(p, c, i, mask)
				return nil
			}
		}
		s.disown(c)
	}
}

// linkRefill links the blocks of a refill to each other and to the magazine. It
// writes over the stamps of those who gave them back: once a bit is set, a stamp
// tells that its block was never given back (rule B2).
func (s *Slot) linkRefill(p uint64, c, word int, mask uint64) {
	below := s.mags[c]
	for mask != 0 {
		top := 63 - bits.LeadingZeros64(mask)
		mask &^= 1 << top
		b := p + uint64(word*64+top)*layout.Classes[c].Size
		s.m.SetWord(b+8, below)
		s.m.Store(b, 0)
		below = b
	}
}

// finishRefill does what follows once the bits are set. Doing it twice is
// harmless.
func (s *Slot) finishRefill(p uint64, c, word int, mask uint64) {
	first := p + uint64(word*64+bits.TrailingZeros64(mask))*layout.Classes[c].Size
	if s.mags[c] != first {
		s.setMag(c, first)
		s.magLen[c] += bits.OnesCount64(mask)
	}
	s.m.Store(s.base+layout.SlotRefillAt, 0)
}

// takeSlab gets the slot a slab with free blocks: one that nobody owns, else a
// new one.
func (s *Slot) takeSlab(c int) error {
	a, k := s.a, layout.Classes[c].Pages
	take := func(p uint64, st layout.PageState) bool {
		if st.Class() != c || s.avoids(p) || a.checkPages(layout.Desc(p), "a slab", p, k) != nil {
			return false
		}
		return s.takeShared(p, st, layout.PageSlabOwned, func() { s.setSlab(c, p) })
	}
	if a.search(hintsOf(c), take) {
		return nil
	}
	p, err := s.claimPages(k)
	if errors.Is(err, ErrFull) && a.search(hintsOf(c), take) {
		return nil // what was freed in between was not pages, but blocks
	}
	if err != nil {
		return err
	}
	s.become(p, k, layout.PageSlabOwned, c)
	s.setSlab(c, p)
	s.endRecord()
	return nil
}

// takeShared makes a shared slab or deferred page the slot's own by one CAS,
// and links it.
func (s *Slot) takeShared(p uint64, st layout.PageState, state int, link func()) bool {
	s.record(layout.RecTake, p, 1, st.Gen()+1, st.Gen()+1)
	ok := s.a.casPage(p, st, layout.MakeState(state, st.Class(), s.idx, st.Gen()+1))
	if ok {
		link()
	}
	s.endRecord()
	return ok
}

// disown gives the slot's slab of a class up, for anybody to take.
func (s *Slot) disown(c int) { s.shareSlab(s.slabs[c], func() { s.setSlab(c, 0) }) }

// shareSlab makes an owned slab shared, or frees it if it is empty. It announces the
// free blocks, because nobody did so while the slab was owned.
func (s *Slot) shareSlab(p uint64, unlink func()) {
	a := s.a
	st := a.page(p)
	if a.emptySlab(p) {
		// Nobody but the owner sets bits: it stays empty.
		s.freePages(p, layout.Classes[st.Class()].Pages, unlink)
		return
	}
	a.mem.Store(layout.Desc(p)+layout.DescState, uint64(layout.MakeState(layout.PageSlabShared, st.Class(), 0, st.Gen()+1)))
	if a.clearBits(p, st.Class()) {
		a.hint(p, layout.HintOf(st.Class()))
	}
	unlink()
}

// slabOf returns the first page of the slab that a block of the class is in,
// and the block's bit.
func (a *Arena) slabOf(off uint64, c int) (p uint64, bit uint64) {
	p = layout.PageOf(off)
	if layout.Classes[c].Pages > 1 {
		if a.page(p).State() == layout.PageCont {
			// If the offset is wrong, the page is not the first of a slab, which
			// callers notice.
			if q := a.ro.Load(layout.Desc(p) + layout.DescInfo); q%layout.PageSize == 0 && q < p && p-q < layout.Classes[c].Pages<<layout.PageShift {
				p = q
			}
		}
	}
	return p, (off - p) * layout.Classes[c].Recip >> 32
}

// giveBack returns a block to its slab (rule B2): it stamps the block, notes it, clears
// its bit, announces it, and calls unlink, which takes it off its list. The stamp comes
// before the note, so a noted block without the stamp is one that somebody uses again.
// If the block comes from the top of a magazine, next is the block below it, because
// others may write to the block once the bit is clear.
func (s *Slot) giveBack(c int, off, next uint64, unlink func()) {
	a := s.a
	s.m.Store(off, uint64(layout.MakeReturn(s.idx)))
	s.m.SetWord(s.base+layout.SlotReturnNext, next)
	s.m.SetWord(s.base+layout.SlotReturn, uint64(layout.MakeItem(off, c)))
	p, bit := a.slabOf(off, c)
	at, mask := layout.Bit(p, bit)
	s.m.And(at, ^mask)
	st := a.page(p)
	if st.State() == layout.PageSlabShared {
		a.hint(p, layout.HintOf(c))
	}
	unlink()
	s.m.SetWord(s.base+layout.SlotReturn, 0)

	if st.State() == layout.PageSlabShared && st.Class() == c && a.emptySlab(p) {
		// Nobody owns it and its last block went.
		s.takeShared(p, st, layout.PageSlabOwned, func() { s.shareSlab(p, func() {}) })
	}
}

// redoReturn finishes a giveBack whose slot died. A block whose bit is set and that still
// carries the stamp has not been given back, because the slab's owner overwrites the
// stamp before it sets the bit again.
func (s *Slot) redoReturn(c int, off uint64) {
	a := s.a
	p, bit := a.slabOf(off, c)
	st := a.page(p)
	if s := st.State(); s != layout.PageSlabOwned && s != layout.PageSlabShared || st.Class() != c || bit >= layout.Classes[c].Blocks {
		return // the slab has been freed since
	}
	at, mask := layout.Bit(p, bit)
	if set := a.ro.Load(at)&mask != 0; set && a.ro.Load(off) == uint64(layout.MakeReturn(s.idx)) {
		s.m.And(at, ^mask)
	}
	a.hint(p, layout.HintOf(c))
}

// thinMags estimates how many free blocks of each class the slot needs, from the number
// that it took between recent passes, and gives some of the others back, because a single
// free block can keep a page in use. It runs after a commit, so it takes no more than
// some microseconds.
func (s *Slot) thinMags() error {
	left := thinBlocks
	for c := range layout.NumClasses {
		s.need[c] = max(s.taken[c], s.need[c]/2)
		s.unused[c] = min(s.unused[c]+1, unusedLooks)
		if s.taken[c] > 0 {
			s.unused[c], s.taken[c] = 0, 0
		}
		keep := max(2*s.need[c], fewBlocks)
		if s.unused[c] == unusedLooks {
			keep = 0
			if s.slabs[c] != 0 {
				s.disown(c)
			}
		}
		for ; left > 0 && s.magLen[c] > keep && s.mags[c] != 0; left-- {
			if err := s.dropMag(c); err != nil {
				return err
			}
		}
	}
	return nil
}

// dropMag gives the top block of a magazine back.
func (s *Slot) dropMag(c int) error {
	b := s.mags[c]
	next := s.m.Word(b + 8)
	if err := s.a.checkItem(s.base+layout.SlotMags+uint64(c)*8, b, c); err != nil {
		return err
	}
	if next != 0 {
		if err := s.checkBlock(b+8, next); err != nil {
			return err
		}
	}
	if err := s.checkUsed(b, c); err != nil {
		return err
	}
	s.giveBack(c, b, next, func() { s.setMag(c, next) })
	s.magLen[c]--
	return nil
}

// checkUsed verifies that the bit of a block in a list is set. If lists could name free
// blocks, a list that names a block twice would never end.
func (s *Slot) checkUsed(off uint64, c int) error {
	if !s.a.isUsed(off, c) {
		return region.Corrupt(off, "bit of a block in a list", "free", "not free")
	}
	return nil
}

// isUsed reports whether the bit of a block is set. A run is always in use.
func (a *Arena) isUsed(off uint64, c int) bool {
	if c == layout.ClassRun {
		return true
	}
	p, bit := a.slabOf(off, c)
	at, mask := layout.Bit(p, bit)
	return a.ro.Load(at)&mask != 0
}

// emptyMags gives all of the slot's free blocks and slabs back.
func (s *Slot) emptyMags() error {
	for c := range layout.NumClasses {
		for s.mags[c] != 0 {
			if err := s.dropMag(c); err != nil {
				return err
			}
		}
		s.magLen[c] = 0
		if s.slabs[c] != 0 {
			s.disown(c)
		}
	}
	return nil
}

// flush gives back all that the slot holds privately, as far as it can be:
// before the slot is released, and when it is adopted.
func (s *Slot) flush() error {
	if err := s.reclaim(s.a.Version(), looksPerPass); err != nil {
		return err
	}
	for i, p := range s.deferred {
		if p != 0 {
			s.shareChunk(p, func() { s.setDeferred(i, 0, 0) })
		}
	}
	return s.emptyMags()
}
