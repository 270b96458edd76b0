package alloc

import (
	"math/bits"

	"github.com/seed-869cc763/shmkv/alloc/layout"
)

// hint announces that a page's group may offer something of a kind. The caller has
// changed the page before. If it dies in between, its adopter announces the page.
func (a *Arena) hint(p uint64, bit int) {
	word, seg := layout.HintWord(p), layout.OffSegHints+uint64(bits.Len64(p>>20))*8
	news := false
	for _, w := range [...]uint64{word, seg} {
		if a.mem.Load(w)&(1<<bit) == 0 {
			a.mem.Or(w, 1<<bit)
			news = true
		}
	}
	if news {
		a.mem.Add(layout.OffHintSeq, 1)
	}
}

// A hintMask is the hint bits of the kinds of pages that a search looks for.
type hintMask uint64

const (
	hintsFree    hintMask = 1 << layout.HintFree // pages with memory behind them
	hintsRoom             = hintsFree | 1<<layout.HintHole
	hintsChunk   hintMask = 1 << layout.HintChunk
	hintsReserve hintMask = 1 << layout.HintReserve
)

// hintsOf is the mask of a size class.
func hintsOf(class int) hintMask { return 1 << layout.HintOf(class) }

// hintBit returns the hint bit that a page in that state may have, or -1.
func hintBit(st layout.PageState) int {
	switch st.State() {
	case layout.PageHole:
		return layout.HintHole
	case layout.PageFree:
		return layout.HintFree
	case layout.PageSlabShared:
		if st.Class() < layout.NumClasses {
			return layout.HintOf(st.Class())
		}
	case layout.PageChunkShared:
		return layout.HintChunk
	case layout.PageReserve:
		return layout.HintReserve
	}
	return -1
}

// offers reports whether a page is of a kind that a search looks for.
func (a *Arena) offers(p uint64, st layout.PageState, want hintMask) bool {
	bit := hintBit(st)
	return bit >= 0 && want>>bit&1 != 0 && (st.State() != layout.PageSlabShared || a.clearBits(p, st.Class()))
}

// slabMask is the bits of bitmap word i that stand for blocks of the class.
func slabMask(class, i int) uint64 {
	n := int(layout.Classes[class].Blocks) - 64*i
	switch {
	case n <= 0:
		return 0
	case n >= 64:
		return ^uint64(0)
	}
	return 1<<n - 1
}

// clearBits reports whether a slab has a free block.
func (a *Arena) clearBits(p uint64, class int) bool {
	d := layout.Desc(p) + layout.DescBitmap
	for i := range 4 {
		if m := slabMask(class, i); a.ro.Load(d+uint64(i)*8)&m != m {
			return true
		}
	}
	return false
}

// search calls try for pages of the wanted kinds until it returns true. It begins
// behind the last page that was found, and then looks at all groups, some for a second
// time. It clears the hints of groups that have no such page.
func (a *Arena) search(want hintMask, try func(p uint64, st layout.PageState) bool) bool {
	bit := bits.Len64(uint64(want)) - 1
	seq := a.ro.Load(layout.OffHintSeq) + 1
	if a.pages.miss[bit].Load() == seq {
		return false
	}
	start := min(a.pages.next[bit].Load(), a.end.Load())
	offered := false
	visit := func(p uint64, st layout.PageState) bool {
		offered = true
		if try(p, st) {
			a.pages.next[bit].Store(p + layout.PageSize)
			return true
		}
		return false
	}
	if a.searchFrom(want, start, visit) || a.searchFrom(want, 0, visit) {
		return true
	}
	if !offered {
		a.pages.miss[bit].Store(seq)
	}
	return false
}

// searchFrom calls visit for the pages of the wanted kinds from an offset on, until it
// returns true. It clears only the hints of groups that lie as a whole behind the
// offset: it has not seen all pages of other groups.
func (a *Arena) searchFrom(want hintMask, from uint64, visit func(uint64, layout.PageState) bool) bool {
	mask := uint64(want)
	limit := a.end.Load()
	const groupSize = layout.GroupPages << layout.PageShift
	for k := range layout.Segments {
		g := &layout.Segments[k]
		if g.Start >= limit {
			break
		}
		seg := layout.OffSegHints + uint64(k)*8
		if g.Stop <= from || a.ro.Load(seg)&mask == 0 {
			continue
		}
		any := from > g.Start
		for base := g.Start; base < min(g.Stop, limit); base += groupSize {
			if base+groupSize <= from || a.ro.Load(layout.HintWord(base))&mask == 0 {
				continue
			}
			any = true
			found, hit := a.searchGroup(want, max(base, from), limit, visit)
			if hit {
				return true
			}
			if !found && base >= from && a.noteHints(base) {
				// There is none: clear the hint, then look again for pages
				// that were announced in between.
				a.mem.And(layout.HintWord(base), ^mask)
				now, _ := a.Limit()
				a.searchGroup(want, base, now, func(p uint64, st layout.PageState) bool {
					a.hint(p, hintBit(st))
					return false
				})
				a.hintsNoted()
			}
		}
		if !any && a.noteHints(g.Start) {
			a.mem.And(seg, ^mask)
			now, _ := a.Limit()
			for base := g.Start; base < min(g.Stop, now); base += groupSize {
				if again := a.ro.Load(layout.HintWord(base)) & mask; again != 0 {
					a.mem.Or(seg, again)
					a.mem.Add(layout.OffHintSeq, 1)
				}
			}
			a.hintsNoted()
		}
	}
	return false
}

// noteHints notes in the handle's proc that it is about to clear hints of the
// group at base, or of its segment. Until its second look, pages that were announced
// just before may be hidden. If the handle dies there, its adopter announces the pages
// again; if the handle is stopped there, whoever finds no space does. noteHints reports
// false if the hints must stay, which costs others a look.
func (a *Arena) noteHints(base uint64) bool {
	if !a.Writable() || a.proc < 0 || !a.hinting.TryLock() {
		return false
	}
	a.noteGroup(base, hintNote)
	return true
}

func (a *Arena) noteGroup(off, what uint64) {
	a.shared.Store(procAt(a.proc)+layout.ProcHints, off&^(layout.GroupPages<<layout.PageShift-1)|what)
}

// hintsNoted drops the note, after the pages of the group were announced again.
func (a *Arena) hintsNoted() {
	a.shared.Store(procAt(a.proc)+layout.ProcHints, 0)
	a.hinting.Unlock()
}

// The kinds of notes in a proc.
const (
	hintNote    = 1 // one group
	hintNoteEnd = 2 // and all from there to the end, which is being raised
)

// announceNoted sets the hints again that the handle of a proc may have
// cleared. The note is in procs, which readers can write. A wrong note sets hints of
// groups that have nothing to offer.
func (a *Arena) announceNoted(proc int) {
	note := a.shared.Load(procAt(proc) + layout.ProcHints)
	base := note &^ (layout.GroupPages<<layout.PageShift - 1)
	end, err := a.Limit() // this handle may not know yet what the dead one has raised
	if err != nil {
		end = a.end.Load()
	}
	if note == 0 || base >= end {
		return
	}
	g := layout.SegmentOf(base)
	stop := base + layout.GroupPages<<layout.PageShift
	if note&hintNoteEnd != 0 {
		stop = end
	}
	for p := base; p < min(stop, end); p += layout.PageSize {
		if p >= layout.SegmentOf(p).First {
			a.announce(p)
		}
	}
	seg := layout.OffSegHints + uint64(bits.Len64(base>>20))*8
	for b := g.Start; b < min(g.Stop, end); b += layout.GroupPages << layout.PageShift {
		if news := a.ro.Load(layout.HintWord(b)) &^ a.ro.Load(seg); news != 0 {
			a.mem.Or(seg, news)
			a.mem.Add(layout.OffHintSeq, 1)
		}
	}
}

// searchGroup looks at the pages from the given one to the end of its group. It
// reports whether one is of a wanted kind, and whether visit took one.
func (a *Arena) searchGroup(want hintMask, from, limit uint64, visit func(uint64, layout.PageState) bool) (found, hit bool) {
	g := layout.SegmentOf(from)
	stop := min((from|(layout.GroupPages<<layout.PageShift-1))+1, limit)
	for p := max(from, g.First); p < stop; p += layout.PageSize {
		if st := a.page(p); a.offers(p, st, want) {
			found = true
			if visit(p, st) {
				return true, true
			}
		}
	}
	return found, false
}
