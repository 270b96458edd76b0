package alloc

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/seed-869cc763/shmkv/alloc/layout"
	"github.com/seed-869cc763/shmkv/alloc/region"
)

// A slotWalk visits what a writer's slot holds. It checks the words that it follows,
// because they come from shared memory.
//
// The slot's owner may be at work meanwhile. So the walk believes what it has read in a
// page only if the page was the slot's before and has not changed hands since, and it
// starts a list again where the beginning of the list has moved. If the owner is dead,
// nothing moves.
type slotWalk struct {
	a    *Arena
	slot int
	base uint64 // the slot's page
	part bool   // a magazine moved too often to be followed to its end
}

// walkTries is how often a walk starts a list again.
const walkTries = 100

// walk returns the walk of a slot that the caller holds.
func (s *Slot) walk() *slotWalk { return &slotWalk{a: s.a, slot: s.idx, base: s.base} }

// walkOf returns the walk of any slot, or nil if the slot has no page, or one that is
// being made.
func (a *Arena) walkOf(slot int) (*slotWalk, error) {
	dir := layout.OffDir + uint64(slot)*8
	d := layout.DirWord(a.ro.Load(dir))
	if d == 0 || d.IsMaking() {
		return nil, nil
	}
	return &slotWalk{a: a, slot: slot, base: d.Page()}, a.checkPages(dir, "page of a slot", d.Page(), 1)
}

// visit tells v what the slot holds, in the order in which blocks move from one list to
// another. So v misses no block that moves on meanwhile.
func (w *slotWalk) visit(v slotVisitor) error {
	for _, list := range [...]func(slotVisitor) error{w.log, w.queue, w.deferred, w.slabs, w.magazines} {
		if err := list(v); err != nil {
			return err
		}
	}
	return nil
}

func (w *slotWalk) word(off uint64) uint64        { return w.a.ro.Load(w.base + off) }
func (w *slotWalk) place(off uint64) layout.Place { return layout.Place(w.word(off)) }

// ownsChunk reports whether a page in that state is the slot's page of a list.
func (w *slotWalk) ownsChunk(st layout.PageState) bool {
	return st.State() == layout.PageChunk && st.Owner() == w.slot
}

// intent returns the root node that the slot intends, or 0, and judges whether it was
// committed (rule C2): by the root word first, then by the mark.
func (w *slotWalk) intent() (node uint64, committed bool, err error) {
	a, at := w.a, w.base+layout.SlotIntent
	if node = a.ro.Load(at); node == 0 {
		return 0, false, nil
	}
	if err := a.checkItem(at, node, layout.ClassOf(layout.RootSize)); err != nil {
		if a.ro.Load(at) != node {
			err = nil // the owner has dropped the intent, and the node is free
		}
		return node, false, err
	}
	current := layout.RootWord(a.ro.Load(layout.OffRoot)).Off() == node
	return node, current || a.ro.Load(node+layout.RootSuperseded) != 0, nil
}

// log visits the log. The blocks in a committed log may belong to anybody by now, so
// nobody looks at them.
func (w *slotWalk) log(v slotVisitor) error {
	var committed bool
	var pages []uint64
	var all []item
	for tries := 0; ; tries++ {
		var err error
		if _, committed, err = w.intent(); err != nil {
			return err
		}
		if pages, all, err = w.readLog(); err == nil {
			break
		} else if tries == walkTries {
			return err
		}
	}
	for _, p := range pages {
		if !v.listPage(p) {
			return nil
		}
	}
	if committed {
		return nil
	}
	for _, e := range all {
		if e.block == 0 {
			continue
		}
		var err error
		if off, c := e.block.Off(), e.block.Class(); c == layout.ClassPage {
			err = w.a.checkPages(e.at, "page in a log", off, 1)
		} else {
			err = w.a.checkItem(e.at, off, c)
		}
		if err := v.logged(e, err); err != nil {
			return err
		}
	}
	return nil
}

// readLog returns the further pages of the log and all items, from the newest page back.
func (w *slotWalk) readLog() (pages []uint64, all []item, err error) {
	a, at := w.a, w.base+layout.SlotLogTop
	top := layout.Place(a.ro.Load(at))
	if top == 0 {
		top = layout.Place(w.base)
	}
	p, n := top.Page(), top.Index()
	if n > layout.LogCap || p == w.base && n > layout.SlotLogCap {
		return nil, nil, region.Corrupt(at, "items of a log", n, "fewer")
	}
	read := func(e, n uint64) {
		for ; n > 0; e, n = e+8, n-1 {
			all = append(all, item{at: e, block: layout.Item(a.ro.Word(e))})
		}
	}
	for round := (ring{}); p != w.base; n = layout.LogCap {
		if err := a.checkPages(at, "page of a log", p, 1); err != nil {
			return nil, nil, err
		}
		var below uint64
		if !a.readPage(p, w.ownsChunk, func(uint64) {
			read(p+layout.LogItems, n)
			below = a.ro.Word(p + layout.LogPrev)
		}) || round.closes(p) {
			return nil, nil, region.Corrupt(at, "page of a log", p, "a page that the slot owns, and an end")
		}
		pages = append(pages, p)
		p = below
	}
	read(w.base+layout.SlotLog, min(n, layout.SlotLogCap))
	return pages, all, nil
}

// ends returns where the queue begins and ends, or zeros if there is none. The head is
// read first, because the tail is never before it.
func (w *slotWalk) ends() (head, tail layout.Place, err error) {
	for range walkTries {
		var node uint64
		var committed bool
		head = w.place(layout.SlotQueueHead)
		node, committed, err = w.intent()
		at := uint64(layout.SlotQueueTail)
		if committed {
			at = layout.SlotIntentTail
		}
		if tail = w.place(at); tail == 0 && !committed {
			tail = head // the queue is just being made
		}
		if err == nil && (head != 0 || tail != 0) {
			err = cmp.Or(w.checkPosition(layout.SlotQueueHead, head), w.checkPosition(at, tail))
		}
		if err == nil && head.Page() == tail.Page() && head > tail {
			err = region.Corrupt(w.base+layout.SlotQueueHead, "head of a queue", head, fmt.Sprintf("at most the tail, %d", tail))
		}
		if w.word(layout.SlotIntent) == node && (err == nil || w.place(layout.SlotQueueHead) == head) {
			break
		}
	}
	return head, tail, err
}

// checkPosition verifies a position in the queue, which a word of the slot's page says.
func (w *slotWalk) checkPosition(word uint64, pos layout.Place) error {
	if pos.Index() > layout.ChunkCap {
		return region.Corrupt(w.base+word, "position in a queue", pos, "a page and an index")
	}
	return w.a.checkPages(w.base+word, "page of a queue", pos.Page(), 1)
}

// queue visits the queue. Where the head overtakes it, it goes on from the head: what the
// head has passed has moved on to the lists that follow.
func (w *slotWalk) queue(v slotVisitor) error {
	a, at := w.a, w.base+layout.SlotQueueHead
	head, tail, err := w.ends()
	if err != nil || head == 0 {
		return err
	}
	var walked []uint64
	var round ring
	p, from := head.Page(), head.Index()
	for tries := 0; ; {
		to := uint64(layout.ChunkCap)
		if p == tail.Page() {
			to = tail.Index()
		}
		var all []item
		var next uint64
		err := a.checkPages(at, "page of a queue", p, 1)
		if err == nil && !a.readPage(p, w.ownsChunk, func(gen uint64) {
			all, next = a.items(p, gen, from, to), a.ro.Word(p+layout.ChunkNext)
		}) {
			err = region.Corrupt(at, "page of a queue", p, "a page that the slot owns")
		}
		if err != nil {
			var e error
			head, tail, e = w.ends()
			if tries++; e != nil || tries == walkTries || slices.Contains(walked, head.Page()) {
				return cmp.Or(e, err)
			}
			p, from, at, round = head.Page(), head.Index(), w.base+layout.SlotQueueHead, ring{}
			continue
		}
		if !v.listPage(p) {
			return nil
		}
		v.retired(all)
		if p == tail.Page() {
			return nil
		}
		if walked = append(walked, p); round.closes(p) {
			return region.Corrupt(w.base+layout.SlotQueueHead, "length of a queue", len(walked), "an end")
		}
		p, from, at = next, 0, p+layout.ChunkNext
	}
}

// deferredPages returns the slot's open deferred pages, or 0, then the one that is being
// drained, or 0, and one that the slot may have taken, if there is one. One that the slot
// was giving up may not be its own any more.
func (w *slotWalk) deferredPages() (all []uint64) {
	for i := range layout.DeferredCount {
		all = append(all, w.word(layout.SlotDeferred+uint64(i)*8))
	}
	all = append(all, w.word(layout.SlotLook)) // where they move to
	if rec := layout.Record(w.word(layout.SlotRec)); rec.Kind() == layout.RecTake && w.a.ownedBy(w.slot, rec.Page(), layout.PageChunk) {
		all = append(all, rec.Page())
	}
	return all
}

// deferred visits the deferred pages.
func (w *slotWalk) deferred(v slotVisitor) error {
	pages := w.deferredPages()
	for i, p := range pages {
		if p == 0 || slices.Contains(pages[:i], p) {
			continue
		}
		at := w.base + layout.SlotDeferred + uint64(i)*8
		if i == layout.DeferredCount {
			at = w.base + layout.SlotLook
		}
		if err := w.a.checkPages(at, "deferred page", p, 1); err != nil {
			return err
		}
		if _, err := w.a.visitDeferred(p, w.ownsChunk, v); err != nil {
			return err
		}
	}
	return nil
}

// slabs visits the slabs from which the slot takes blocks.
func (w *slotWalk) slabs(v slotVisitor) error {
	for c := range layout.NumClasses {
		at := layout.SlotSlabs + uint64(c)*8
		if p := w.word(at); p != 0 {
			if err := w.a.checkPages(w.base+at, "slab of a slot", p, layout.Classes[c].Pages); err != nil {
				return err
			}
			v.slab(c, p)
		}
	}
	return nil
}

// magazines visits the magazines.
func (w *slotWalk) magazines(v slotVisitor) error {
	for c := range layout.NumClasses {
		all, err := w.readMagazine(c)
		if err != nil {
			return err
		}
		v.magazine(all)
	}
	return nil
}

// readMagazine follows a magazine from the top. While the top is the same, all below is
// in the magazine; where it changes, this begins again.
func (w *slotWalk) readMagazine(c int) (all []item, err error) {
	a, mag := w.a, w.base+layout.SlotMags+uint64(c)*8
	known := map[uint64]bool{}
	for tries := 0; ; tries++ {
		top := a.ro.Load(mag)
		at, b := mag, top
		if b != 0 && w.word(layout.SlotReturn) == uint64(layout.MakeItem(b, c)) {
			at = w.base + layout.SlotReturnNext // what is given back may be another's already
			b = a.ro.Load(at)
		}
		for round := (ring{}); b != 0 && a.ro.Load(mag) == top; at, b = b+8, a.ro.Load(b+8) {
			err := a.checkItem(at, b, c)
			if err == nil && round.closes(b) {
				err = region.Corrupt(mag, "length of a magazine", len(all), "an end")
			}
			if err != nil && a.ro.Load(mag) == top {
				return nil, err
			} else if err != nil {
				break
			}
			if !known[b] {
				known[b] = true
				all = append(all, item{at: mag, block: layout.MakeItem(b, c)})
			}
		}
		if a.ro.Load(mag) == top {
			return all, nil
		} else if tries == walkTries {
			w.part = true
			return all, nil
		}
	}
}
