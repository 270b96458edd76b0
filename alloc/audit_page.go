package alloc

import (
	"context"
	"fmt"
	"math/bits"

	"github.com/seed-869cc763/shmkv/alloc/layout"
)

// mark notes that the place is accounted for, and reports whether it was
// before.
func (u *audit) mark(off uint64) (twice bool) {
	if off >= u.end {
		return false // allocated since the pass began
	}
	w, bit := &u.seen[off/512], uint64(1)<<(off/8%64)
	twice = *w&bit != 0
	*w |= bit
	return twice
}

func (u *audit) marked(off uint64) bool {
	return off >= u.end || u.seen[off/512]&(1<<(off/8%64)) != 0
}

// block accounts for a block that is not free, in one of the sums, unless it was
// allocated beyond the end since the pass began.
func (u *audit) block(e item, sum *int64, kind string) {
	off, c := e.block.Off(), e.block.Class()
	if _, known := u.before[off]; known {
		u.places[off] = bits.RotateLeft64(u.places[off]*0x9e3779b97f4a7c15, 23) ^ e.at
	}
	if off >= u.end {
		return
	}
	if c == layout.ClassRun {
		*sum += int64(u.a.runPages(off)) << layout.PageShift
	} else {
		*sum += int64(layout.Classes[c].Size)
	}
	if !u.a.isUsed(off, c) {
		u.wrongBlock(off, fmt.Sprintf("the block at offset %d is %s, but its bit says that it is free", off, kind))
	}
	if u.mark(off) {
		u.wrongBlock(off, fmt.Sprintf("the block at offset %d is %s and something else as well", off, kind))
	}
}

func (u *audit) sharedChunks(ctx context.Context) error {
	return u.a.eachPage(ctx, u.end, func(p uint64, st layout.PageState) error {
		if st.State() != layout.PageChunkShared || u.marked(p) {
			return nil
		}
		ok, err := u.a.visitDeferred(p, func(now layout.PageState) bool { return now == st }, slotAudit{audit: u})
		if err != nil {
			u.problem(p, err.Error())
		}
		u.part = u.part || !ok // a slot that was looked at already may have taken it
		return nil
	})
}

// allPages accounts for what pages are, and finds the blocks that are not free
// and that nobody has.
func (u *audit) allPages(ctx context.Context, progress func(done, total int64)) error {
	a := u.a
	for k := range layout.Segments {
		if g := &layout.Segments[k]; g.Start < u.end {
			u.Table += int64(min(g.First, u.end) - g.Start)
		}
	}
	inRun := uint64(0) // further pages that must follow
	err := u.a.eachPage(ctx, u.end, func(p uint64, st layout.PageState) error {
		if p%(4<<20) == 0 && progress != nil {
			progress(int64(p), int64(u.end))
		}
		if st.State() == layout.PageCont {
			if inRun == 0 {
				u.problem(p, fmt.Sprintf("the page at offset %d continues nothing", p))
				return nil
			}
			inRun--
			return nil
		}
		if inRun > 0 {
			u.problem(p, fmt.Sprintf("the page at offset %d should continue the one before", p))
			inRun = 0
		}
		switch st.State() {
		case layout.PageHole, layout.PageFree, layout.PageReserve:
			u.Free += layout.PageSize
			if !a.emptySlab(p) {
				u.problem(p, fmt.Sprintf("the page at offset %d is free and has blocks in use", p))
			}
		case layout.PageSlot:
			u.Table += layout.PageSize
			if owner := st.Owner(); owner >= layout.MaxSlots || layout.DirWord(a.ro.Load(layout.OffDir+uint64(owner)*8)).Page() != p {
				u.leak(p, layout.PageSize, "page of no slot", false)
			}
		case layout.PageClaimed:
			u.leak(p, layout.PageSize, "claimed page", false)
		case layout.PageChunk, layout.PageChunkShared:
			if !u.marked(p) {
				u.leak(p, layout.PageSize, "page of no list", false)
			}
		case layout.PageRun:
			k := a.runPages(p)
			if a.checkPages(layout.Desc(p)+layout.DescInfo, "pages of a run", p, k) != nil {
				u.problem(p, fmt.Sprintf("the run at offset %d has %d pages", p, k))
				return nil
			}
			inRun = k - 1
			u.use[layout.NumClasses].add(0, k, 1)
			if !u.marked(p) {
				u.leak(p, k<<layout.PageShift, "run", true)
			}
		case layout.PageSlabOwned, layout.PageSlabShared:
			u.slabBlocks(p, st, &inRun)
		default:
			u.problem(p, fmt.Sprintf("the page at offset %d is in state %d", p, st.State()))
		}
		return nil
	})
	if err == nil && progress != nil {
		progress(int64(u.end), int64(u.end))
	}
	return err
}

// slabBlocks accounts for a slab, and finds its blocks that are not free and that nobody
// has. Further pages of the slab must follow.
func (u *audit) slabBlocks(p uint64, st layout.PageState, inRun *uint64) {
	a, c := u.a, st.Class()
	if c >= layout.NumClasses || a.checkPages(layout.Desc(p), "slab", p, layout.Classes[min(c, layout.NumClasses-1)].Pages) != nil {
		u.problem(p, fmt.Sprintf("the slab at offset %d is of class %d", p, c))
		return
	}
	cl := &layout.Classes[c]
	*inRun = cl.Pages - 1
	u.Rounding += int64(cl.Pages<<layout.PageShift - cl.Blocks*cl.Size)
	use := &u.use[c]
	use.add(int64(cl.Size), cl.Pages, cl.Blocks)
	if owner := st.Owner(); st.State() == layout.PageSlabOwned {
		if w, err := a.walkOf(owner % layout.MaxSlots); w == nil || err != nil || w.word(layout.SlotSlabs+uint64(c)*8) != p {
			u.problem(p, fmt.Sprintf("the slab at offset %d says it is slot %d's, which does not have it", p, owner))
		}
	}
	for i := range 4 {
		word := a.ro.Load(layout.Desc(p) + layout.DescBitmap + uint64(i)*8)
		mask := slabMask(c, i)
		if word&^mask != 0 {
			u.problem(p, fmt.Sprintf("the slab at offset %d has bits beyond its blocks", p))
		}
		free := int64(bits.OnesCount64(mask &^ word))
		u.Free += free * int64(cl.Size)
		use.Free += free
		for m := word & mask; m != 0; m &= m - 1 {
			off := p + uint64(i*64+bits.TrailingZeros64(m))*cl.Size
			if !u.marked(off) {
				u.leak(off, cl.Size, "block", true)
			}
		}
	}
}

// leak notes a block or a page that nobody has.
func (u *audit) leak(off, size uint64, what string, block bool) {
	u.wrong[off] = finding{
		what:  fmt.Sprintf("%s at offset %d, %d bytes, is neither free nor in use", what, off, size),
		proof: u.proof(off, block), block: block, absent: true, size: size,
	}
}
