package alloc

import (
	"math/bits"

	"github.com/seed-869cc763/shmkv/alloc/layout"
)

// retiredEnds returns where the retired blocks stand that the slot may be moving to
// another list: the first of the queue, and the last of the page that is being drained.
// It returns 0 where there is none.
func (w *slotWalk) retiredEnds() (first, last uint64) {
	head, look := w.place(layout.SlotQueueHead), w.word(layout.SlotLook)
	if head != w.place(layout.SlotQueueTail) && head.Index() < layout.ChunkCap && w.a.ownedBy(w.slot, head.Page(), layout.PageChunk) {
		first = layout.ItemAt(head.Page(), head.Index())
	}
	if look != 0 && w.a.ownedBy(w.slot, look, layout.PageChunk) {
		last = w.a.lastItem(look)
	}
	return first, last
}

// ownsSlab reports whether a page is a slab of the class that the slot owns.
func (w *slotWalk) ownsSlab(p uint64, c int) bool {
	return w.a.ownedBy(w.slot, p, layout.PageSlabOwned) && w.a.page(p).Class() == c
}

// refill returns the slab whose blocks the slot takes by its record of a refill, the
// slab's class, and the bits of a word of its bitmap. It returns 0 if there is none.
func (w *slotWalk) refill() (p uint64, c, word int, mask uint64) {
	at, mask := w.word(layout.SlotRefillAt), w.word(layout.SlotRefillMask)
	for c := range layout.NumClasses {
		p := w.word(layout.SlotSlabs + uint64(c)*8)
		if p == 0 || !w.ownsSlab(p, c) {
			continue
		}
		d := layout.Desc(p) + layout.DescBitmap
		if at < d || at >= d+32 || at%8 != 0 {
			continue
		}
		if word = int(at-d) / 8; mask == 0 || mask&^slabMask(c, word) != 0 {
			break
		}
		return p, c, word, mask
	}
	return 0, 0, 0, 0
}

// moving calls note for the blocks and pages that the slot may just be moving: the ends
// of its lists, and what its records name.
func (w *slotWalk) moving(note func(off uint64)) {
	a := w.a
	noteItem := func(at uint64) {
		if at != 0 {
			note(layout.Item(a.ro.Load(at)).Off())
		}
	}
	for c := range uint64(layout.NumClasses) {
		noteItem(w.base + layout.SlotMags + c*8)
	}
	noteItem(w.base + layout.SlotReturn)
	first, _ := w.retiredEnds()
	noteItem(first)
	for _, p := range w.deferredPages() {
		if p != 0 && a.checkPages(p, "", p, 1) == nil {
			note(p)
			noteItem(a.lastItem(p))
		}
	}
	rec, n := layout.Record(w.word(layout.SlotRec)), w.word(layout.SlotRecPages)
	if a.checkPages(w.base+layout.SlotRec, "", rec.Page(), n) == nil {
		for i := range n {
			note(rec.Page() + i*layout.PageSize)
		}
	}
	p, c, word, mask := w.refill()
	for ; mask != 0; mask &= mask - 1 {
		note(p + uint64(word*64+bits.TrailingZeros64(mask))*layout.Classes[c].Size)
	}
	if top := w.place(layout.SlotLogTop); top.Index() > 0 && top.Index() <= layout.LogCap {
		first := w.base + layout.SlotLog
		if top.Page() != w.base {
			first = top.Page() + layout.LogItems
		}
		if a.checkPages(w.base+layout.SlotLogTop, "", top.Page(), 1) == nil {
			noteItem(first + (top.Index()-1)*8)
		}
	}
}
