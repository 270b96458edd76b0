package alloc

import (
	"context"
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"time"

	"github.com/seed-869cc763/shmkv/alloc/region"
)

// Ledger is what each byte of data is (DESIGN: the ledger). The sums add up to
// File when nobody writes meanwhile.
type Ledger struct {
	Version  uint64
	Live     int64            // blocks reachable from the root, its node included
	Retired  int64            // blocks in queues and set-aside pages
	Held     int64            // of these, set aside
	HeldBy   map[uint64]int64 // of these, under a pinned version; the others under an intent
	InFlight int64            // blocks and pages in logs
	Free     int64            // free pages, free blocks in slabs and magazines
	Table    int64            // header, tables, slots' pages, pages of lists
	Rounding int64            // what is left over in slabs
	Leaked   int64            // blocks that are not free and in none of the others
	File     int64
	Quiet    bool // nobody wrote meanwhile
	Problems []string
	Classes  []ClassUse // that there are slabs or runs of, by size
}

// ClassUse is what the blocks of one size take.
type ClassUse struct {
	Size   int64 // of a block; 0: runs of pages
	Slabs  int64 // or runs
	Bytes  int64 // of the slabs' or runs' pages
	Blocks int64 // that there is room for
	Free   int64 // of these, in nobody's hands
	Cached int64 // of these, free and in a slot's magazine
}

// Corrupt makes an error of a number that should be another.
func Corrupt(off uint64, what string, found, want int64) error {
	return region.Corrupt(off, what, found, fmt.Sprint(want))
}

// CorruptLedger makes an error of a Ledger's problems.
func CorruptLedger(problems []string) error {
	return fmt.Errorf("%w: %d problems, the first: %s", region.ErrCorrupt, len(problems), problems[0])
}

// add counts a slab or a run.
func (c *ClassUse) add(size int64, pages, blocks uint64) {
	c.Size = size
	c.Slabs++
	c.Bytes += int64(pages << pageShift)
	c.Blocks += int64(blocks)
}

// auditPasses bounds how often a store that is being written to is looked at.
const auditPasses = 12

// Ledger accounts for every byte. live calls note for each block that the root
// reaches but the root node itself, and verifies what is in them.
//
// While others write, a block on its way between two lists may be seen in both
// or in none. What is really wrong is wrong every time, so the audit is made
// again until nothing has been wrong in every pass, or nobody wrote during one.
func (a *Arena) Ledger(ctx context.Context, live func(root Root, note func(off, size uint64) error) error,
	progress func(done, total int64)) (*Ledger, error) {
	var wrong map[uint64]string
	for pass := 0; ; pass++ {
		u, err := a.audit(ctx, live, progress)
		if err != nil {
			return nil, err
		}
		if u.Quiet || wrong == nil {
			wrong = u.wrong
		} else {
			maps.DeleteFunc(wrong, func(k uint64, _ string) bool { return u.wrong[k] == "" })
		}
		if u.Quiet || len(wrong) == 0 || pass == auditPasses {
			if len(wrong) == 0 {
				u.Leaked = 0
			}
			for _, k := range slices.Sorted(maps.Keys(wrong)) {
				u.Problems = append(u.Problems, wrong[k])
			}
			for _, c := range u.use {
				if c.Slabs > 0 {
					u.Classes = append(u.Classes, c)
				}
			}
			return &u.Ledger, nil
		}
		time.Sleep(time.Duration(pass) * time.Millisecond)
	}
}

// audit is one pass.
type audit struct {
	Ledger
	a     *Arena
	end   uint64
	seen  []uint64          // a bit for every 8 bytes: where blocks and pages of lists begin
	wrong map[uint64]string // by offset
	use   [numClasses + 1]ClassUse
	// What a slot in use may just be moving, so that it is in two places or in
	// none. A writer that was stopped there stays so.
	moving map[uint64]bool
	// found is told which sum a block is in, or nil.
	found func(off uint64, class int, sum *int64)
}

func newAudit(a *Arena, end uint64) *audit {
	return &audit{
		Ledger: Ledger{Problems: []string{}, HeldBy: map[uint64]int64{}},
		a:      a, end: end, seen: make([]uint64, end/512+1),
		wrong: map[uint64]string{}, moving: map[uint64]bool{},
	}
}

func (a *Arena) audit(ctx context.Context, live func(Root, func(off, size uint64) error) error, progress func(done, total int64)) (*audit, error) {
	if _, err := a.Limit(); err != nil { // so that activity sees as far as it will
		return nil, err
	}
	before, _ := a.activity()
	root, done, err := a.auditRoot()
	if err != nil {
		return nil, err
	}
	defer done()
	end, err := a.Limit()
	if err != nil {
		return nil, err
	}
	u := newAudit(a, end)
	u.Version, u.File = root.Version, int64(end)
	note := func(off, size uint64) error { return u.block(off, classOf(size), &u.Live, "live") }
	if err := note(root.Off, rootSize); err != nil {
		return nil, err
	}
	if err := live(root, note); err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		u.problem(root.Off, err.Error())
	}
	for i := range min(int(a.ro.Load(offSlotHigh)), maxSlots) {
		if err := u.slot(i); err != nil {
			u.problem(offDir+uint64(i)*8, err.Error())
		}
	}
	u.pins()
	if err := u.sharedChunks(ctx); err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		u.problem(offSegHints, err.Error())
	}
	if err := u.allPages(ctx, progress); err != nil {
		return nil, err
	}
	after, idle := a.activity()
	u.Quiet = idle && after == before
	for off := range u.moving {
		delete(u.wrong, off)
	}
	if sum := u.Live + u.Retired + u.InFlight + u.Free + u.Table + u.Rounding + u.Leaked; u.Quiet && len(u.wrong) == 0 && sum != u.File {
		u.problem(offEnd, fmt.Sprintf("the sums add up to %d, expected %d", sum, u.File))
	}
	return u, nil
}

// auditRoot pins the current version, or, where that is not permitted, takes
// it as it is.
func (a *Arena) auditRoot() (Root, func(), error) {
	if !a.CanPin() {
		word := a.ro.Load(offRoot)
		r, err := a.rootNode(word, versionAt(a.ro.Load(offHorizon), word))
		return r, func() {}, err
	}
	p, err := a.Pin()
	if err != nil {
		return Root{}, nil, err
	}
	return p.Root, func() { a.Unpin(p) }, nil
}

// activity sums up what changes whenever a slot does something, and reports
// whether no slot is in use.
func (a *Arena) activity() (sum uint64, idle bool) {
	idle = true
	h := a.ro.Load(offRoot) ^ a.ro.Load(offHorizon)<<20 ^ a.ro.Load(offEnd)<<1
	mix := func(w uint64) { h = bits.RotateLeft64(h*0x9e3779b97f4a7c15, 23) ^ w }
	for i := range min(int(a.ro.Load(offSlotHigh)), maxSlots) {
		page := a.ro.Load(offDir + uint64(i)*8)
		owner := a.ro.Load(offOwners + uint64(i)*8)
		idle = idle && (owner == 0 || owner&ownerIdle != 0)
		mix(owner)
		mix(page)
		if page%pageSize != 0 || page == 0 || page > a.end.Load()-pageSize {
			continue
		}
		for off := uint64(0); off < slotLog; off += 8 {
			mix(a.ro.Load(page + off))
		}
	}
	return h, idle
}

func (u *audit) problem(off uint64, what string) { u.wrong[off] = what }

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

// block accounts for a block that is not free, in one of the sums.
func (u *audit) block(off uint64, c int, sum *int64, kind string) error {
	a := u.a
	if off%8 != 0 || off < segments[0].first || off >= u.end {
		return region.Corrupt(off, "offset of a "+kind+" block", off, "an offset within the store")
	}
	if c == classRun {
		if off%pageSize != 0 || a.page(off).state() != pageRun {
			return region.Corrupt(off, "page of a "+kind+" run", pageStateNames[a.page(off).state()%len(pageStateNames)], "run")
		}
		if err := a.checkPages(desc(off)+descInfo, "pages of a run", off, a.runPages(off)); err != nil {
			return err
		}
		*sum += int64(a.runPages(off)) << pageShift
	} else {
		if c >= numClasses {
			return region.Corrupt(off, "class of a "+kind+" block", c, fmt.Sprintf("less than %d", numClasses))
		}
		p, bit := a.slabOf(off, c)
		st := a.page(p)
		if (st.state() != pageSlabOwned && st.state() != pageSlabShared) || st.class() != c || bit >= classes[c].blocks || p+bit*classes[c].size != off {
			return region.Corrupt(off, "slab of a "+kind+" block", fmt.Sprintf("page state %d of class %d", st.state(), st.class()), fmt.Sprintf("a slab of class %d", c))
		}
		if a.ro.Load(desc(p)+descBitmap+bit>>6*8)>>(bit&63)&1 == 0 {
			u.problem(off, fmt.Sprintf("the block at offset %d is %s, but its bit says that it is free", off, kind))
		}
		*sum += int64(classes[c].size)
	}
	if u.mark(off) {
		u.problem(off, fmt.Sprintf("the block at offset %d is %s and something else as well", off, kind))
	} else if u.found != nil {
		u.found(off, c, sum)
	}
	return nil
}

// retired accounts for an entry of a queue or set-aside page. What was retired
// after the version that is looked at is live in it.
func (u *audit) retired(e uint64, sum *int64) error {
	block, retired := u.a.ro.Word(e), u.a.ro.Word(e+8)
	if off := block & offMask; retired > u.Version && off < u.end && u.marked(off) {
		return nil
	}
	return u.block(block&offMask, int(block>>48&0xff), sum, "retired")
}

// page accounts for a page of a list.
func (u *audit) page(p uint64) error {
	if err := u.a.checkPages(p, "page of a list", p, 1); err != nil {
		return err
	}
	if u.mark(p) {
		return region.Corrupt(p, "page of a list", "it in another list too", "it in one")
	}
	return nil
}

// slot accounts for what a slot holds. An intent is judged as an adopter would
// (rule C2).
func (u *audit) slot(i int) error {
	a := u.a
	base := a.ro.Load(offDir + uint64(i)*8)
	if base == 0 || base%pageSize != 0 {
		return nil // none, or being made
	}
	if err := a.checkPages(offDir+uint64(i)*8, "page of a slot", base, 1); err != nil {
		return err
	}
	w := func(off uint64) uint64 { return a.ro.Load(base + off) }
	if owner := a.ro.Load(offOwners + uint64(i)*8); owner != 0 && owner&ownerIdle == 0 {
		u.inUse(base)
	} else {
		for c := range numClasses {
			if p := w(slotSlabs + uint64(c)*8); p != 0 && !(a.ownedBy(i, p, pageSlabOwned) && a.page(p).class() == c) {
				u.problem(p, fmt.Sprintf("slot %d has the slab at offset %d, which is not its own", i, p))
			}
		}
	}
	committed := false
	tail := w(slotQueueTail)
	if tail == 0 {
		tail = w(slotQueueHead) // the queue is just being made
	}
	if node := w(slotIntent); node != 0 && node%8 == 0 && node < u.end-rootSize {
		if current := a.ro.Load(offRoot)&offMask == node; current || a.ro.Load(node+rootSuperseded) != 0 {
			committed, tail = true, w(slotIntentTail)
		}
	}
	for p := w(slotLogTop); p != 0; {
		n := p & (pageSize - 1)
		entries := base + slotLog
		if p &^= pageSize - 1; p != base {
			entries = p + logEntries
			if err := u.page(p); err != nil {
				return err
			}
			u.Table += pageSize
		}
		for j := range min(n, logCap) {
			e := a.ro.Word(entries + j*8)
			if off, c := e&offMask, int(e>>48); e != 0 && !committed {
				if c == classPage {
					if err := u.page(off); err != nil {
						return err
					}
					u.InFlight += pageSize
				} else if err := u.block(off, c, &u.InFlight, "in flight"); err != nil {
					return err
				}
			}
		}
		if p == base {
			break
		}
		if p = a.ro.Word(p + logPrev); p == base {
			p |= slotLogCap
		} else {
			p |= logCap
		}
	}
	for pos := w(slotQueueHead); pos != 0; {
		p, j := pos&^(pageSize-1), pos&(pageSize-1)
		if err := u.page(p); err != nil {
			return err
		}
		u.Table += pageSize
		for ; j < chunkCap && p|j != tail; j++ {
			if err := u.retired(p+chunkEntries+j*chunkEntry, &u.Retired); err != nil {
				return err
			}
		}
		if p == tail&^(pageSize-1) {
			break
		}
		pos = a.ro.Word(p + chunkNext)
	}
	// A set-aside page that is not the slot's any more was just given up; one that
	// it was taking it may have taken.
	var chunks []uint64
	chunk := func(p uint64) error {
		if p == 0 || slices.Contains(chunks, p) || !a.ownedBy(i, p, pageChunk) {
			return nil
		}
		chunks = append(chunks, p)
		return u.chunk(p)
	}
	if err := chunk(w(slotLook)); err != nil {
		return err
	}
	for j := range asideCount {
		if err := chunk(w(slotAside + uint64(j)*8)); err != nil {
			return err
		}
	}
	if rec := w(slotRec); rec&(pageSize-1) == recTake {
		if err := chunk(rec &^ (pageSize - 1)); err != nil {
			return err
		}
	}
	for c := range numClasses {
		n := uint64(0)
		top := w(slotMags + uint64(c)*8)
		if top != 0 && w(slotReturn) == top|uint64(c)<<48 {
			top = w(slotReturnNext) // what is given back may be another's already
		}
		for b := top; b != 0; b = a.ro.Word(b + 8) {
			if err := u.block(b, c, &u.Free, "in a magazine"); err != nil {
				return err
			}
			u.use[c].Cached++
			if n++; n > u.end/classes[c].size {
				return region.Corrupt(base+slotMags+uint64(c)*8, "length of a magazine", n, "an end")
			}
		}
	}
	return nil
}

// pins finds snapshots that nobody holds, and that would hold their space for
// ever.
func (u *audit) pins() {
	a := u.a
	if !a.CanPin() {
		return
	}
	for i := range min(int(a.shared.Load(offPinHigh)), maxSnapPins) {
		v, owner := a.shared.Load(snapPin(i)+pinVersion), a.shared.Load(snapPin(i)+pinOwner)
		if e := ownerEntry(owner); v != 0 && (e < 0 || e >= maxEntries || makeOwner(e, a.shared.Load(entryAt(e)+entryState)>>8) != owner || !a.taken(e)) {
			u.problem(offSlotPins+uint64(i), fmt.Sprintf("pin %d holds version %d for nobody", i, v))
		}
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

// chunk accounts for a set-aside page and what it names.
func (u *audit) chunk(p uint64) error {
	if err := u.page(p); err != nil {
		return err
	}
	u.Table += pageSize
	before := u.Retired
	for j := range min(u.a.ro.Word(p+chunkCount), chunkCap) {
		if err := u.retired(p+chunkEntries+j*chunkEntry, &u.Retired); err != nil {
			return err
		}
	}
	held := u.Retired - before
	u.Held += held
	if key := heldKey(u.a.ro.Load(p + chunkKey)); key&intentKey == 0 {
		u.HeldBy[uint64(key)] += held
	}
	return nil
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
		if st.state() == pageChunkShared {
			return u.chunk(p)
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
				u.leak(p, pageSize, "page of no slot")
			}
		case pageClaimed:
			u.leak(p, pageSize, "claimed page")
		case pageChunk, pageChunkShared:
			if !u.marked(p) {
				u.leak(p, pageSize, "page of no list")
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
				u.leak(p, k<<pageShift, "run")
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
				u.leak(off, cl.size, "block")
			}
		}
	}
	return nil
}

func (u *audit) leak(off, size uint64, what string) {
	u.Leaked += int64(size)
	u.problem(off, fmt.Sprintf("%s at offset %d, %d bytes, is neither free nor in use", what, off, size))
}
