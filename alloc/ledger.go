package alloc

import (
	"context"
	"errors"
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

// How often a store that is being written to is looked at.
const (
	firstPasses   = 3   // passes that must have seen what is wrong first
	agreeing      = 12  // passes after that which must see the same
	auditPasses   = 24  // passes at most
	auditTries    = 100 // to follow a list whose beginning moves, in a pass
	unpinnedTries = 500 // passes that writers may overtake, without a pin
)

// ErrOvertaken says that a handle that cannot pin read nothing that holds: writers
// reused it too soon, each time.
var ErrOvertaken = errors.New("writers were too fast")

// A finding is something that is wrong, as one pass saw it.
type finding struct {
	what string
	// proof is the words that would have changed if it only seemed so because
	// something was moving, see Ledger.
	proof  [3]uint64
	block  bool   // at its offset there is a block
	absent bool   // nobody has it, which only a pass that saw all lists can tell
	size   uint64 // of what is leaked
	agreed int    // passes that saw the same before
}

// Ledger accounts for every byte. live calls note for each block that the root
// reaches but the root node itself, and verifies what is in them.
//
// While nobody writes, one pass is enough. What the pinned root reaches does not
// move, so damage there is believed at once, too. Everything else moves, and a pass
// may see it in two lists or in none. So a finding is believed only when as many
// more passes as agreeing found the same, and the words that a move would have
// changed were the same in all of them:
//
//   - of a page, these are its state: the generation rises with every change;
//   - of a block, its first two words and the places in which it was found. The first
//     word of a published block is its birth, which is newer each time the block is
//     published. Between two publications a block moves in one direction: from the
//     log to the trie, to a queue, to set-aside pages, to a magazine or its slab. A
//     pass reads the lists in this order, so it does not miss a block that moves on.
//     An entry of a queue or of a set-aside page stays in its place until the page
//     is freed, and the page's generation is part of the place. A free block has
//     no birth to tell: one that leaves a magazine and comes back to it with the
//     same words each time would have to escape all of the passes.
//
// A pass that could not read a list to its end does not count for what nobody seems
// to have. Nor does a pass count for what a slot in use may be moving just then,
// since the slot's owner may be stopped there.
//
// A handle that cannot pin looks at a version only for as long as the horizon
// permits. A pass that was overtaken is made again; after unpinnedTries of them the
// error is ErrOvertaken.
func (a *Arena) Ledger(ctx context.Context, live func(root Root, note func(off, size uint64) error) error,
	progress func(done, total int64)) (*Ledger, error) {
	before := map[uint64]finding{}
	for pass, tries := 0, 0; ; pass++ {
		u, err := a.audit(ctx, before, live, progress)
		if errors.Is(err, ErrOvertaken) && tries < unpinnedTries {
			tries++
			pass--
			continue
		}
		if err != nil {
			return nil, err
		}
		going := u.compare(pass < firstPasses)
		if u.Quiet || len(u.sure) > 0 || u.believed() > 0 || !going || pass == auditPasses {
			return u.result(), nil
		}
		before = u.wrong
		time.Sleep(time.Duration(min(pass, 10)) * time.Millisecond)
	}
}

// audit is one pass.
type audit struct {
	Ledger
	a      *Arena
	end    uint64
	seen   []uint64           // a bit for every 8 bytes: where blocks and pages of lists begin
	before map[uint64]finding // what the pass before found, by offset
	wrong  map[uint64]finding // what this one found
	places map[uint64]uint64  // of blocks in before: a hash of where they were found
	sure   []string           // what is wrong in what does not move
	steady bool               // nothing moved, though somebody may be in the middle of something
	part   bool               // a list could not be followed to its end
	use    [numClasses + 1]ClassUse
	// What a slot in use may just be moving, so that it is in two places or in
	// none. A writer that was stopped there stays so.
	moving map[uint64]bool
	// found is told which sum a block is in, or nil.
	found func(off uint64, class int, sum *int64)
}

func newAudit(a *Arena, end uint64, before map[uint64]finding) *audit {
	return &audit{
		Ledger: Ledger{Problems: []string{}, HeldBy: map[uint64]int64{}},
		a:      a, end: end, seen: make([]uint64, end/512+1),
		before: before, wrong: map[uint64]finding{}, places: map[uint64]uint64{}, moving: map[uint64]bool{},
	}
}

// compare keeps of what was found what can be true, counts how many passes agree
// about it, and reports whether another pass can tell more. What passes have not
// found before counts only if it is news.
func (u *audit) compare(news bool) (going bool) {
	for off, f := range u.wrong {
		was, known := u.before[off]
		published := f.block && f.absent && !u.steady && f.proof[0] > u.Version && f.proof[0] <= u.a.Version()+1
		switch {
		case u.moving[off] || f.absent && u.part || published || u.proof(off, f.block) != f.proof:
			delete(u.wrong, off)
		case known && was.same(f):
			f.agreed = was.agreed + 1
			u.wrong[off] = f
			going = true
		case !news && !u.Quiet:
			delete(u.wrong, off)
		}
	}
	if u.Quiet {
		return false
	}
	for off, was := range u.before {
		now := u.proof(off, was.block)
		now[2] = was.proof[2] // where it was found may be known of a part only
		if _, known := u.wrong[off]; !known && (u.moving[off] || was.absent && u.part) && now == was.proof {
			u.wrong[off] = was
			going = going || was.agreed > 0
		}
	}
	return going || news && (u.part || len(u.before) == 0 && len(u.wrong) > 0)
}

// same reports whether f is what an earlier pass found as well. That did not note
// places of blocks that it found first.
func (was finding) same(f finding) bool {
	if was.proof[2] == 0 {
		f.proof[2] = 0
	}
	return was.what == f.what && was.proof == f.proof
}

// believed is how many findings the passes agree about.
func (u *audit) believed() (n int) {
	for _, f := range u.wrong {
		if f.agreed >= agreeing {
			n++
		}
	}
	return n
}

// result is the ledger of the last pass.
func (u *audit) result() *Ledger {
	u.Leaked = 0
	u.Problems = append(u.Problems, u.sure...)
	for _, k := range slices.Sorted(maps.Keys(u.wrong)) {
		if f := u.wrong[k]; u.Quiet || f.agreed >= agreeing {
			u.Problems = append(u.Problems, f.what)
			u.Leaked += int64(f.size)
		}
	}
	if sum := u.Live + u.Retired + u.InFlight + u.Free + u.Table + u.Rounding + u.Leaked; u.Quiet && len(u.Problems) == 0 && sum != u.File {
		u.Problems = append(u.Problems, fmt.Sprintf("the sums add up to %d, expected %d", sum, u.File))
	}
	for _, c := range u.use {
		if c.Slabs > 0 {
			u.Classes = append(u.Classes, c)
		}
	}
	return &u.Ledger
}

func (a *Arena) audit(ctx context.Context, before map[uint64]finding, live func(Root, func(off, size uint64) error) error,
	progress func(done, total int64)) (*audit, error) {
	if _, err := a.Limit(); err != nil { // so that activity sees as far as it will
		return nil, err
	}
	active, _ := a.activity()
	root, held, done, err := a.auditRoot()
	if err != nil {
		return nil, err
	}
	defer done()
	end, err := a.Limit()
	if err != nil {
		return nil, err
	}
	u := newAudit(a, end, before)
	u.Version, u.File = root.Version, int64(end)
	blocks := 0
	note := func(off, size uint64) error {
		if blocks++; blocks%1024 == 0 && !held() {
			return ErrOvertaken
		}
		c := classOf(size)
		if err := u.checkBlock(off, c, "live"); err != nil {
			return err
		}
		if !u.bit(off, c) {
			return region.Corrupt(off, "bit of a live block", "free", "not free")
		}
		u.block(off, c, &u.Live, "live", 1)
		return nil
	}
	if err = note(root.Off, rootSize); err == nil {
		err = live(root, note)
	}
	if !held() {
		return nil, ErrOvertaken
	} else if ctx.Err() != nil {
		return nil, ctx.Err()
	} else if err != nil {
		u.sure = append(u.sure, err.Error())
	}
	for i := range min(int(a.ro.Load(offSlotHigh)), maxSlots) {
		u.slot(i)
	}
	u.pins()
	if err := u.sharedChunks(ctx); err != nil {
		return nil, err
	}
	if err := u.allPages(ctx, progress); err != nil {
		return nil, err
	}
	if !held() {
		return nil, ErrOvertaken
	}
	after, idle := a.activity()
	u.steady = after == active
	u.Quiet = idle && u.steady
	return u, nil
}

// auditRoot pins the current version. Where that is not permitted, held reports
// whether it has not been overtaken yet.
func (a *Arena) auditRoot() (r Root, held func() bool, done func(), err error) {
	if a.CanPin() {
		p, err := a.Pin()
		if err != nil {
			return Root{}, nil, nil, err
		}
		return p.Root, func() bool { return true }, func() { a.Unpin(p) }, nil
	}
	g, ok := a.Glance()
	if !ok {
		if _, err := a.Limit(); err != nil {
			return Root{}, nil, nil, err
		}
		return Root{}, nil, nil, ErrClosed
	}
	held = func() bool { return a.Held(g) }
	if r, err = a.rootNode(g.word, a.VersionOf(g)); err != nil && !held() {
		err = ErrOvertaken
	}
	return r, held, func() {}, err
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

// problem notes something that is wrong with a page, or elsewhere.
func (u *audit) problem(off uint64, what string) {
	u.wrong[off] = finding{what: what, proof: u.proof(off, false)}
}

// wrongBlock notes something that is wrong with a block.
func (u *audit) wrongBlock(off uint64, what string) {
	u.wrong[off] = finding{what: what, proof: u.proof(off, true), block: true}
}

// proof is the words that tell whether the page or the block at off has moved.
func (u *audit) proof(off uint64, block bool) (w [3]uint64) {
	if off%8 != 0 || off < segments[0].first || off > u.end-16 || off < segmentOf(off).first {
		return w
	}
	switch st := u.a.page(off &^ (pageSize - 1)); {
	case !block:
		w[0] = uint64(st)
	case st.state() != pageHole:
		w = [3]uint64{u.a.ro.Load(off), u.a.ro.Load(off + 8), u.places[off]}
	}
	return w
}

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

// An item is an entry of a queue or set-aside page, and where it stands.
type item struct{ at, block, retired uint64 }

// items reads entries of a page of a slot, or of nobody, of which to and next are
// asked while it is read. It reports false if the page has changed hands meanwhile:
// then what it has read means nothing.
func (u *audit) items(p uint64, owned func(pageState) bool, from uint64, to func(i uint64) bool) (all []item, next uint64, ok bool) {
	a, st := u.a, u.a.page(p)
	if !owned(st) {
		return nil, 0, false
	}
	for i := from; i < chunkCap && to(i); i++ {
		e := p + chunkEntries + i*chunkEntry
		all = append(all, item{e ^ st.gen()<<40, a.ro.Word(e), a.ro.Word(e + 8)})
	}
	next = a.ro.Word(p + chunkNext)
	a.ro.LoadFence()
	return all, next, a.page(p) == st
}

// retired accounts for entries of a queue or set-aside page. What was retired
// after the version that is looked at is live in it, or has been published since.
func (u *audit) retired(all []item) {
	for _, e := range all {
		if e.retired <= u.Version {
			u.block(e.block&offMask, int(e.block>>48&0xff), &u.Retired, "retired", e.at)
		}
	}
}

// page accounts for a page of a list.
func (u *audit) page(p uint64) (once bool) {
	if u.mark(p) {
		u.problem(p, region.Corrupt(p, "page of a list", "it in another list too", "it in one").Error())
		return false
	}
	u.Table += pageSize
	return true
}

// ownedChunk tells the list pages of slot i.
func ownedChunk(i int) func(pageState) bool {
	return func(st pageState) bool { return st.state() == pageChunk && st.owner() == i }
}

// slot accounts for what a slot holds, in the order in which blocks move from one
// list to another. What cannot be followed is a finding.
func (u *audit) slot(i int) {
	a := u.a
	base := a.ro.Load(offDir + uint64(i)*8)
	if base == 0 || base%pageSize != 0 {
		return // none, or being made
	}
	err := a.checkPages(offDir+uint64(i)*8, "page of a slot", base, 1)
	if err == nil {
		u.owner(i, base)
		err = u.log(i, base)
	}
	if err == nil {
		err = u.queue(i, base)
	}
	if err == nil {
		err = u.aside(i, base)
	}
	for c := 0; c < numClasses && err == nil; c++ {
		err = u.magazine(base, c)
	}
	if err != nil {
		u.part = true
		u.problem(offDir+uint64(i)*8, err.Error())
	}
}

// owner looks at what must be so of a slot that nobody uses, and may be otherwise of
// one in use.
func (u *audit) owner(i int, base uint64) {
	a := u.a
	if owner := a.ro.Load(offOwners + uint64(i)*8); owner != 0 && owner&ownerIdle == 0 {
		u.inUse(base)
		return
	}
	for c := range numClasses {
		if p := a.ro.Load(base + slotSlabs + uint64(c)*8); p != 0 && !(a.ownedBy(i, p, pageSlabOwned) && a.page(p).class() == c) {
			u.problem(p, fmt.Sprintf("slot %d has the slab at offset %d, which is not its own", i, p))
		}
	}
}

// committed judges an intent as an adopter would (rule C2).
func (u *audit) committed(node uint64) bool {
	if node == 0 || node%8 != 0 || node >= u.end-rootSize {
		return false
	}
	return u.a.ro.Load(offRoot)&offMask == node || u.a.ro.Load(node+rootSuperseded) != 0
}

// log accounts for what a transaction has allocated that is not committed.
func (u *audit) log(i int, base uint64) error {
	for tries := 0; ; tries++ {
		committed := u.committed(u.a.ro.Load(base + slotIntent))
		pages, all, err := u.logItems(i, base)
		if err != nil && tries < auditTries {
			continue
		}
		if err != nil {
			return err
		}
		for _, p := range pages {
			if !u.page(p) {
				return nil
			}
		}
		for _, e := range all {
			if off, c := e.block&offMask, int(e.block>>48); committed || e.block == 0 {
				continue
			} else if c != classPage {
				u.block(off, c, &u.InFlight, "in flight", e.at)
			} else if err := u.a.checkPages(e.at, "page in a log", off, 1); err != nil {
				return err
			} else if u.page(off) {
				u.InFlight += pageSize
				u.Table -= pageSize
			}
		}
		return nil
	}
}

// logItems reads the log of a slot, from its newest page back.
func (u *audit) logItems(i int, base uint64) (pages []uint64, all []item, err error) {
	a, top := u.a, u.a.ro.Load(base+slotLogTop)
	for p, n := top&^(pageSize-1), top&(pageSize-1); p != 0; n = logCap {
		at, most := base+slotLog, uint64(slotLogCap)
		var st pageState
		if p != base {
			if err := a.checkPages(base+slotLogTop, "page of a log", p, 1); err != nil {
				return nil, nil, err
			}
			at, most, st = p+logEntries, logCap, a.page(p)
		}
		for j := range min(n, most) {
			all = append(all, item{at: at + j*8, block: a.ro.Word(at + j*8)})
		}
		if p == base {
			break
		}
		below := a.ro.Word(p + logPrev)
		a.ro.LoadFence()
		if !ownedChunk(i)(st) || a.page(p) != st || uint64(len(pages)) > u.end>>pageShift {
			return nil, nil, region.Corrupt(base+slotLogTop, "page of a log", p, "a page that the slot owns, and an end")
		}
		pages = append(pages, p)
		p = below
	}
	return pages, all, nil
}

// ends returns where a slot's queue begins and ends. The head is read first: the
// tail is never before it.
func (u *audit) ends(base uint64) (head, tail uint64) {
	w := func(off uint64) uint64 { return u.a.ro.Load(base + off) }
	for range auditTries {
		head = w(slotQueueHead)
		intent := w(slotIntent)
		tail = w(slotQueueTail)
		if u.committed(intent) {
			tail = w(slotIntentTail)
		}
		if tail == 0 {
			tail = head // the queue is just being made
		}
		if w(slotIntent) == intent {
			break
		}
	}
	return head, tail
}

// queue accounts for a slot's retired blocks. Where the head overtakes it, it goes on
// from there: what it has passed has moved on to the lists that follow.
func (u *audit) queue(i int, base uint64) error {
	a := u.a
	var walked []uint64
	tries := 0
	for pos, tail := u.ends(base); pos != 0; {
		p := pos &^ (pageSize - 1)
		if err := a.checkPages(base+slotQueueHead, "page of a queue", p, 1); err != nil {
			return err
		}
		all, next, ok := u.items(p, ownedChunk(i), pos-p, func(j uint64) bool { return p|j != tail })
		if !ok {
			pos, tail = u.ends(base)
			if tries++; tries == auditTries || slices.Contains(walked, pos&^(pageSize-1)) {
				return region.Corrupt(base+slotQueueHead, "page of a queue", p, "a page that the slot owns")
			}
			continue
		}
		if !u.page(p) {
			return nil
		}
		walked = append(walked, p)
		u.retired(all)
		if p == tail&^(pageSize-1) {
			return nil
		}
		pos = next
	}
	return nil
}

// aside accounts for a slot's set-aside pages. One that is not the slot's any more
// was just given up; one that it was taking it may have taken.
func (u *audit) aside(i int, base uint64) error {
	a := u.a
	var places []uint64
	for j := range asideCount {
		places = append(places, a.ro.Load(base+slotAside+uint64(j)*8))
	}
	places = append(places, a.ro.Load(base+slotLook)) // where they move to
	if rec := a.ro.Load(base + slotRec); rec&(pageSize-1) == recTake {
		places = append(places, rec&^(pageSize-1))
	}
	for j, p := range places {
		if p != 0 && !slices.Contains(places[:j], p) && a.ownedBy(i, p, pageChunk) {
			u.chunk(p, ownedChunk(i))
		}
	}
	return nil
}

// magazine follows a magazine from the top. While the top is the same all below is
// in it; where it changes, it begins again.
func (u *audit) magazine(base uint64, c int) error {
	a, at := u.a, base+slotMags+uint64(c)*8
	var all []uint64
	var known map[uint64]bool
	for tries := 0; ; tries++ {
		top := a.ro.Load(at)
		if top == 0 {
			break
		}
		if known == nil {
			known = map[uint64]bool{}
		}
		b := top
		if a.ro.Load(base+slotReturn) == top|uint64(c)<<48 {
			b = a.ro.Load(base + slotReturnNext) // what is given back may be another's already
		}
		n := uint64(0)
		for b != 0 && a.ro.Load(at) == top {
			if err := u.checkBlock(b, c, "in a magazine"); err != nil && a.ro.Load(at) == top {
				return err
			} else if err != nil {
				break
			}
			if !known[b] {
				known[b] = true
				all = append(all, b)
			}
			if n++; n > u.end/classes[c].size {
				return region.Corrupt(at, "length of a magazine", n, "an end")
			}
			b = a.ro.Load(b + 8)
		}
		if a.ro.Load(at) == top {
			break
		}
		if tries == auditTries {
			u.part = true
			break
		}
	}
	for _, b := range all {
		u.block(b, c, &u.Free, "in a magazine", at)
		u.use[c].Cached++
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
