package alloc

import (
	"context"
	"fmt"
	"math/bits"

	"github.com/seed-869cc763/shmkv/alloc/region"
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

// checkBlock verifies that there is a block of the class at off.
func (u *audit) checkBlock(off uint64, c int, kind string) error {
	a := u.a
	switch {
	case off%8 != 0 || off < segments[0].first || off >= u.end:
		return region.Corrupt(off, "offset of a "+kind+" block", off, "an offset within the store")
	case c == classRun:
		if off%pageSize != 0 || a.page(off).state() != pageRun {
			return region.Corrupt(off, "page of a "+kind+" run", pageStateNames[a.page(off).state()%len(pageStateNames)], "run")
		}
		return a.checkPages(desc(off)+descInfo, "pages of a run", off, a.runPages(off))
	case c >= numClasses:
		return region.Corrupt(off, "class of a "+kind+" block", c, fmt.Sprintf("less than %d", numClasses))
	}
	p, bit := a.slabOf(off, c)
	st := a.page(p)
	if (st.state() != pageSlabOwned && st.state() != pageSlabShared) || st.class() != c || bit >= classes[c].blocks || p+bit*classes[c].size != off {
		return region.Corrupt(off, "slab of a "+kind+" block", fmt.Sprintf("page state %d of class %d", st.state(), st.class()), fmt.Sprintf("a slab of class %d", c))
	}
	return nil
}

// bit reports whether a block is not free as far as its slab knows.
func (u *audit) bit(off uint64, c int) bool {
	if c == classRun {
		return true
	}
	p, bit := u.a.slabOf(off, c)
	return u.a.ro.Load(desc(p)+descBitmap+bit>>6*8)>>(bit&63)&1 != 0
}

// block accounts for a block that is not free, in one of the sums. at tells the
// places apart in which it may be found.
func (u *audit) block(off uint64, c int, sum *int64, kind string, at uint64) {
	if _, known := u.before[off]; known {
		u.places[off] = bits.RotateLeft64(u.places[off]*0x9e3779b97f4a7c15, 23) ^ at
	}
	if err := u.checkBlock(off, c, kind); err != nil {
		u.problem(off, err.Error())
		return
	}
	if c == classRun {
		*sum += int64(u.a.runPages(off)) << pageShift
	} else {
		*sum += int64(classes[c].size)
	}
	if !u.bit(off, c) {
		u.wrongBlock(off, fmt.Sprintf("the block at offset %d is %s, but its bit says that it is free", off, kind))
	}
	if u.mark(off) {
		u.wrongBlock(off, fmt.Sprintf("the block at offset %d is %s and something else as well", off, kind))
	} else if u.found != nil {
		u.found(off, c, sum)
	}
}

// inUse notes what the slot with its page at base may just be moving: the ends
// of its lists, and what its records name.
func (u *audit) inUse(base uint64) {
	a := u.a
	w := func(off uint64) uint64 { return a.ro.Load(base + off) }
	move := func(block uint64) { u.moving[block&offMask] = true }
	entry := func(page, i uint64) {
		if page < u.end && i < chunkCap {
			move(a.ro.Word(page + chunkEntries + i*chunkEntry))
		}
	}
	for c := range numClasses {
		move(w(slotMags + uint64(c)*8))
	}
	move(w(slotReturn))
	entry(w(slotQueueHead)&^(pageSize-1), w(slotQueueHead)&(pageSize-1))
	for _, off := range []uint64{slotLook, slotAside, slotAside + 8, slotAside + 16, slotAside + 24, slotAside + 32,
		slotAside + 40, slotAside + 48, slotAside + 56} {
		if p := w(off) &^ (pageSize - 1); p != 0 && p < u.end {
			move(p)
			entry(p, a.ro.Word(p+chunkCount)-1)
		}
	}
	if rec, n := w(slotRec)&^(pageSize-1), w(slotRecPages); rec != 0 && rec < u.end && n <= u.end>>pageShift {
		for i := range n {
			move(rec + i*pageSize)
		}
	}
	if at := w(slotRefillAt); at != 0 {
		mask := w(slotRefillMask)
		for c := range numClasses {
			p := w(slotSlabs + uint64(c)*8)
			if p == 0 || p >= u.end || at < desc(p)+descBitmap || at >= desc(p)+descInfo {
				continue
			}
			for m := mask; m != 0; m &= m - 1 {
				bit := (at-desc(p)-descBitmap)*8 + uint64(bits.TrailingZeros64(m))
				move(p + bit*classes[c].size)
			}
		}
	}
	if top := w(slotLogTop); top&(pageSize-1) != 0 {
		at := base + slotLog
		if p := top &^ (pageSize - 1); p != base {
			at = p + logEntries
		}
		if at += (top&(pageSize-1) - 1) * 8; at < u.end {
			move(a.ro.Word(at))
		}
	}
}

// chunk accounts for a set-aside page and what it names. It reports false if it
// changed hands meanwhile.
func (u *audit) chunk(p uint64, owned func(pageState) bool) bool {
	n := min(u.a.ro.Load(p+chunkCount), chunkCap)
	all, _, ok := u.items(p, owned, 0, func(j uint64) bool { return j < n })
	if !ok {
		return false
	}
	if !u.page(p) {
		return true
	}
	before := u.Retired
	u.retired(all)
	held := u.Retired - before
	u.Held += held
	if key := heldKey(u.a.ro.Load(p + chunkKey)); key&intentKey == 0 {
		u.HeldBy[uint64(key)] += held
	}
	return true
}

func (u *audit) eachPage(ctx context.Context, visit func(p uint64, st pageState) error) error {
	for k := range segments {
		g := &segments[k]
		for p := g.first; p < min(g.stop, u.end); p += pageSize {
			if p%(4<<20) == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
			if err := visit(p, u.a.page(p)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (u *audit) sharedChunks(ctx context.Context) error {
	return u.eachPage(ctx, func(p uint64, st pageState) error {
		if st.state() == pageChunkShared && !u.marked(p) {
			// A slot that was looked at already may have taken it.
			u.part = !u.chunk(p, func(now pageState) bool { return now == st }) || u.part
		}
		return nil
	})
}

// allPages accounts for what pages are, and finds the blocks that are not free
// and that nobody has.
func (u *audit) allPages(ctx context.Context, progress func(done, total int64)) error {
	a := u.a
	for k := range segments {
		if g := &segments[k]; g.start < u.end {
			u.Table += int64(min(g.first, u.end) - g.start)
		}
	}
	inRun := uint64(0) // further pages that must follow
	err := u.eachPage(ctx, func(p uint64, st pageState) error {
		if p%(4<<20) == 0 && progress != nil {
			progress(int64(p), int64(u.end))
		}
		if st.state() == pageCont {
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
		switch st.state() {
		case pageHole, pageFree, pageReserve:
			u.Free += pageSize
			if !a.emptySlab(p) {
				u.problem(p, fmt.Sprintf("the page at offset %d is free and has blocks in use", p))
			}
		case pageSlot:
			u.Table += pageSize
			if owner := st.owner(); owner >= maxSlots || a.ro.Load(offDir+uint64(owner)*8)&^1 != p {
				u.leak(p, pageSize, "page of no slot", false)
			}
		case pageClaimed:
			u.leak(p, pageSize, "claimed page", false)
		case pageChunk, pageChunkShared:
			if !u.marked(p) {
				u.leak(p, pageSize, "page of no list", false)
			}
		case pageRun:
			k := a.runPages(p)
			if a.checkPages(desc(p)+descInfo, "pages of a run", p, k) != nil {
				u.problem(p, fmt.Sprintf("the run at offset %d has %d pages", p, k))
				return nil
			}
			inRun = k - 1
			u.use[numClasses].add(0, k, 1)
			if !u.marked(p) {
				u.leak(p, k<<pageShift, "run", true)
			}
		case pageSlabOwned, pageSlabShared:
			return u.slab(p, st, &inRun)
		default:
			u.problem(p, fmt.Sprintf("the page at offset %d is in state %d", p, st.state()))
		}
		return nil
	})
	if err == nil && progress != nil {
		progress(int64(u.end), int64(u.end))
	}
	return err
}

func (u *audit) slab(p uint64, st pageState, inRun *uint64) error {
	a, c := u.a, st.class()
	if c >= numClasses || a.checkPages(desc(p), "slab", p, classes[min(c, numClasses-1)].pages) != nil {
		u.problem(p, fmt.Sprintf("the slab at offset %d is of class %d", p, c))
		return nil
	}
	cl := &classes[c]
	*inRun = cl.pages - 1
	u.Rounding += int64(cl.pages<<pageShift - cl.blocks*cl.size)
	use := &u.use[c]
	use.add(int64(cl.size), cl.pages, cl.blocks)
	if owner := st.owner(); st.state() == pageSlabOwned {
		if dir := a.ro.Load(offDir + uint64(owner%maxSlots)*8); dir == 0 || dir%pageSize != 0 || dir >= u.end ||
			a.ro.Load(dir+slotSlabs+uint64(c)*8) != p {
			u.problem(p, fmt.Sprintf("the slab at offset %d says it is slot %d's, which does not have it", p, owner))
		}
	}
	for i := range 4 {
		word := a.ro.Load(desc(p) + descBitmap + uint64(i)*8)
		mask := slabMask(c, i)
		if word&^mask != 0 {
			u.problem(p, fmt.Sprintf("the slab at offset %d has bits beyond its blocks", p))
		}
		free := int64(bits.OnesCount64(mask &^ word))
		u.Free += free * int64(cl.size)
		use.Free += free
		for m := word & mask; m != 0; m &= m - 1 {
			off := p + uint64(i*64+bits.TrailingZeros64(m))*cl.size
			if !u.marked(off) {
				u.leak(off, cl.size, "block", true)
			}
		}
	}
	return nil
}

// leak notes a block or a page that nobody has.
func (u *audit) leak(off, size uint64, what string, block bool) {
	u.wrong[off] = finding{
		what:  fmt.Sprintf("%s at offset %d, %d bytes, is neither free nor in use", what, off, size),
		proof: u.proof(off, block), block: block, absent: true, size: size,
	}
}
