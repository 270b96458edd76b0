package alloc

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-869cc763/shmkv/alloc/region"
)

// Slot is one writer's place in the store: its intent, its log, its magazines,
// its slabs, its queue of retired blocks. All of it lies in the slot's page, so
// that a death loses nothing; the fields here are copies for speed, but for
// what a transaction forgets when it ends. One goroutine uses a slot at a time.
type Slot struct {
	a    *Arena
	m    *region.Mem
	idx  int
	base uint64 // the slot's page
	mark uint64

	owner    uint64          // what the slot's word says while it is in use
	handover region.Handover // from one user to the next
	place    uint32          // in the pool

	mags   [numClasses]uint64
	magLen [numClasses]int // blocks known to be there
	taken  [numClasses]int // blocks allocated since the last pass
	need   [numClasses]int // see thinMags
	unused [numClasses]int // looks since the last was taken
	slabs  [numClasses]uint64
	logTop uint64   // page | entries in it
	logs   []uint64 // further log pages, oldest first
	head   uint64   // of the queue: page | index
	tail   uint64
	aside  [asideCount]uint64

	// One transaction.
	root    Root
	light   bool // it holds no pin
	retired []retiredBlock
	delta   int64 // bytes of blocks allocated less retired

	// Reclaiming.
	retiredBytes uint64 // since the last pass
	commits      uint64 // since the last pass
	passes       uint64
	freedRuns    []freedRun
	view         scan
	asideKeys    [asideCount]heldKey
	asideNext    int    // page that makes room next
	freed        uint64 // blocks
	setAsides    uint64 // blocks

	brief          bool   // the transaction runs no foreign code
	gate           uint64 // the gate that the slot has closed, or 0
	closed         time.Time
	mayTakeReserve bool
	relieving      bool
	tookReserve    bool   // since TookReserve was asked
	leaveReserve   uint64 // pages of it that the slot may not take
	avoid          []span // windows that the slot is emptying, by address

	// Scratch is the user's, for what belongs to one transaction at a time.
	Scratch any
}

type retiredBlock struct {
	block uint64 // offset | class<<48, rootFlag for a root node
	size  uint64
}

// slotPool is the slots that a handle owns. Who takes a slot into use does so by a
// compare-and-swap of its word in owners, so the places where slots are found are hints:
// a slot may be in several of them, or in none but all.
type slotPool struct {
	idle [16]idleSlot
	last [256]atomic.Uint32 // by lane: where a goroutine has found a slot

	claims atomic.Uint64 // of slots, by this handle

	mu    sync.Mutex
	all   []*Slot // but for those that others have taken
	freed sync.Cond
	brief int // transactions under way that run no foreign code
}

// An idleSlot is a place for an idle slot, in a cache line of its own. A slot
// comes back to the place that it was taken from, and a goroutine looks there first
// the next time, so that each processor goes on with the slot whose blocks it has
// in its cache.
type idleSlot struct {
	atomic.Pointer[Slot]
	_ [56]byte
}

// plentySlots is how many brief transactions are under way at a time: others wait for
// one of them to end.
const plentySlots = 32

// take returns a slot that was idle, and its place, or nil.
func (p *slotPool) take() (*Slot, uint32) {
	last := &p.last[region.Lane()%len(p.last)]
	first := last.Load()
	for i := range uint32(len(p.idle)) {
		at := (first + i) % uint32(len(p.idle))
		if p.idle[at].Load() == nil {
			continue
		}
		if s := p.idle[at].Swap(nil); s != nil {
			if i > 0 {
				last.Store(at)
			}
			return s, at
		}
	}
	return nil, 0
}

// takeAny takes any idle slot of the handle into use, or returns nil. It forgets those
// that others have taken.
func (p *slotPool) takeAny() *Slot {
	p.mu.Lock()
	all := slices.Clone(p.all)
	p.mu.Unlock()
	for _, s := range all {
		if s.retake() {
			return s
		}
		if !s.ours() {
			p.mu.Lock()
			p.all = slices.DeleteFunc(p.all, func(x *Slot) bool { return x == s })
			p.mu.Unlock()
		}
	}
	return nil
}

// begin waits until few enough brief transactions are under way, and counts one more.
func (p *slotPool) begin(closed *atomic.Bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.brief >= plentySlots && !closed.Load() {
		p.freed.Wait()
	}
	p.brief++
}

func (p *slotPool) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.brief--
	p.freed.Signal()
}

// wakeAll wakes those who wait for a slot.
func (p *slotPool) wakeAll() {
	p.mu.Lock()
	p.freed.Broadcast()
	p.mu.Unlock()
}

// put notes where an idle slot is found, if there is a place: the one it was taken from,
// or another.
func (p *slotPool) put(s *Slot, from uint32) {
	for i := range uint32(len(p.idle)) {
		place := &p.idle[(from+i)%uint32(len(p.idle))]
		if place.Load() == nil && place.CompareAndSwap(nil, s) {
			return
		}
	}
}

// mayWrite returns an error if the handle cannot begin a transaction.
func (a *Arena) mayWrite() error {
	switch {
	case !a.Writable() || !a.CanPin():
		return ErrReadOnly
	case a.closed.Load():
		return ErrClosed
	}
	return a.checkName()
}

// Slot returns a slot for one transaction; Release gives it back. A caller
// that runs no foreign code in between says that it is brief, and may then wait
// for another brief transaction to end. One that may come to free more than it
// takes says so: then a new slot may take its page from the reserve. The caller is
// a user of the handle, see Enter, until it has released the slot.
func (a *Arena) Slot(brief, frees bool) (s *Slot, err error) {
	p := &a.slots
	if brief {
		p.begin(&a.closed)
		defer func() {
			if err != nil {
				p.end()
			}
		}()
	}
	if err := a.mayWrite(); err != nil {
		return nil, err
	}
	var place uint32
	for s, place = p.take(); s != nil && !s.retake(); s, place = p.take() {
	}
	if s != nil {
		s.place = place
	} else {
		s = p.takeAny()
	}
	if s == nil {
		if s, err = a.claimSlot(frees); err != nil {
			return nil, err
		}
		p.mu.Lock()
		p.all = append(p.all, s)
		p.mu.Unlock()
	}
	s.brief = brief
	return s, nil
}

// ours reports whether the slot, in use or idle, is still the handle's.
func (s *Slot) ours() bool { return s.m.Load(offOwners+uint64(s.idx)*8)&^ownerIdle == s.owner }

// retake makes an idle slot one that is in use, unless others have taken it, as
// they may when space is short; even if the handle has got it again since, for
// then the claim is another.
func (s *Slot) retake() bool {
	if !s.m.CAS(offOwners+uint64(s.idx)*8, s.owner|ownerIdle, s.owner) {
		return false
	}
	s.handover.Take()
	return true
}

// Release gives a slot back to its handle, which keeps it for the next
// transaction.
func (a *Arena) Release(s *Slot) {
	brief, place := s.brief, s.place
	s.Rest()
	a.slots.put(s, place)
	if brief {
		a.slots.end()
	}
}

// Rest ends the use of a slot that the caller will take into use again by Resume, before
// it asks for any slot. It is no brief transaction's then.
func (s *Slot) Rest() {
	s.mayTakeReserve = false
	s.handover.Give()
	s.m.Release(offOwners+uint64(s.idx)*8, s.owner|ownerIdle)
}

// Resume takes a slot into use again. It reports false if somebody else has, of this
// process or another: then it is not the caller's any more.
func (s *Slot) Resume() (bool, error) {
	if err := s.a.mayWrite(); err != nil {
		return false, err
	}
	return s.retake(), nil
}

// AllowReserve says whether the slot may take the last pages, until it is
// released: for transactions that free more than they take.
func (s *Slot) AllowReserve(may bool) { s.mayTakeReserve = may }

// claimSlot takes a slot that nobody owns. If there is none, or no page for a new
// one, the dead and those who do not use theirs just now make room.
func (a *Arena) claimSlot(frees bool) (*Slot, error) {
	s, err := a.claimFreeSlot(frees)
	if s != nil || err != nil && !errors.Is(err, ErrFull) {
		return s, err
	}
	if _, err := a.AdoptDead(); err != nil {
		return nil, err
	}
	for i := range maxSlots {
		a.emptyIdle(i)
	}
	s, err = a.claimFreeSlot(frees)
	if s == nil && err == nil {
		err = fmt.Errorf("%w: all %d writers' slots are in use", ErrTooManyProcesses, maxSlots)
	}
	return s, err
}

// claimFreeSlot takes a slot that nobody owns, first one that was used before, or
// returns nil.
func (a *Arena) claimFreeSlot(frees bool) (*Slot, error) {
	for _, used := range [...]bool{true, false} {
		for i := range maxSlots {
			if (a.ro.Load(offDir+uint64(i)*8) != 0) != used || a.ro.Load(offOwners+uint64(i)*8) != 0 {
				continue
			}
			owner := claimOf(a.owner, a.slots.claims.Add(1))
			if !a.mem.CAS(offOwners+uint64(i)*8, 0, owner) {
				continue
			}
			// Raised before the slot pins or intends anything: see takeScan.
			a.mem.Max(offSlotHigh, uint64(i)+1)
			s, err := a.openSlot(i, frees)
			if err != nil {
				a.mem.Store(offOwners+uint64(i)*8, 0)
				return nil, err
			}
			s.owner = owner
			return s, nil
		}
	}
	return nil, nil
}

// openSlot readies slot i, which the caller has claimed, for use.
func (a *Arena) openSlot(i int, frees bool) (*Slot, error) {
	page, err := a.slotPage(i)
	if err == nil && page == 0 {
		page, err = a.makeSlotPage(i, frees)
	}
	if err != nil {
		return nil, err
	}
	s, err := a.loadSlot(i, page)
	if err != nil {
		return nil, err
	}
	return s, s.recover() // a released slot is in order already, unless it is damaged
}

// slotPage returns the page of slot i, which the caller holds, or 0. A claim
// that was not finished is undone.
func (a *Arena) slotPage(i int) (uint64, error) {
	dir := offDir + uint64(i)*8
	page := a.ro.Load(dir)
	p := page &^ 1
	if page == 0 {
		return 0, nil
	}
	if err := a.checkPages(dir, "page of a slot", p, 1); err != nil {
		return 0, err
	}
	if page == p {
		return p, nil
	}
	if st := a.page(p); st.state() == pageSlot && st.owner() == i {
		a.mem.Store(desc(p)+descState, uint64(makeState(pageHole, 0, 0, st.gen()+1)))
	}
	a.announce(p)
	a.mem.Store(dir, 0)
	return 0, nil
}

// loadSlot reads the page of a slot that the caller holds. What it reads is
// checked, here and by recover: it comes from shared memory.
func (a *Arena) loadSlot(i int, page uint64) (*Slot, error) {
	if got := a.mem.Word(page + slotIndex); got != uint64(i)+1 {
		return nil, region.Corrupt(page, "index of a slot", got, fmt.Sprint(i+1))
	}
	s := &Slot{a: a, m: &a.mem, idx: i, base: page, mark: markOf(i), freedRuns: make([]freedRun, 0, freedCap)}
	w := func(off uint64) uint64 { return s.m.Word(page + off) }
	for c := range numClasses {
		s.mags[c] = w(slotMags + uint64(c)*8)
		s.slabs[c] = w(slotSlabs + uint64(c)*8)
	}
	for i := range s.aside {
		s.aside[i] = w(slotAside + uint64(i)*8)
		if p := s.aside[i]; p != 0 {
			if err := a.checkPages(page+slotAside, "set-aside page", p, 1); err != nil {
				return nil, err
			}
			s.asideKeys[i] = heldKey(w(p - page + chunkKey))
		}
	}
	s.head, s.tail, s.logTop = w(slotQueueHead), w(slotQueueTail), w(slotLogTop)
	if s.logTop == 0 {
		s.logTop = page
	}
	return s, s.loadLog()
}

// loadLog follows the log's pages back from the newest.
func (s *Slot) loadLog() error {
	s.logs = s.logs[:0]
	limit, err := s.a.Limit()
	if err != nil {
		return err
	}
	for p := s.logTop &^ (pageSize - 1); p != s.base; {
		if err := s.a.checkPages(s.base+slotLogTop, "page of a log", p, 1); err != nil {
			return err
		}
		if uint64(len(s.logs)) > limit>>pageShift {
			return region.Corrupt(s.base+slotLogTop, "length of a log", len(s.logs), "an end")
		}
		s.logs = append(s.logs, p)
		p = s.m.Word(p + logPrev)
	}
	for i, j := 0, len(s.logs)-1; i < j; i, j = i+1, j-1 {
		s.logs[i], s.logs[j] = s.logs[j], s.logs[i]
	}
	return nil
}

// makeSlotPage gives slot i, which the caller holds, its page. The directory
// names the page, marked as not finished, before it is claimed. When there is no
// other it may take one of the reserve, for one who is going to free: a delete
// needs a slot, too.
func (a *Arena) makeSlotPage(i int, frees bool) (uint64, error) {
	dir := offDir + uint64(i)*8
	for want := hintsFree; ; {
		err := errNoneFree
		var page uint64
		a.search(want, func(p uint64, st pageState) bool {
			a.mem.Store(dir, p|1)
			next := makeState(pageSlot, 0, i, st.gen()+1)
			if !a.casPage(p, st, next) {
				a.mem.Store(dir, 0)
				return false
			}
			if st.state() == pageFree {
				a.mem.Add(offFreePages, ^uint64(0))
			} else if st.state() == pageReserve {
				a.mem.Add(offReserve, ^uint64(0))
			} else if e := a.b.back(p, pageSize); e != nil {
				a.mem.Store(desc(p)+descState, uint64(makeState(pageHole, 0, 0, next.gen()+1)))
				a.hint(p, hintHole)
				a.mem.Store(dir, 0)
				err = e
				return false
			}
			page, err = p, nil
			return true
		})
		if page != 0 {
			a.mem.Zero(page, pageSize)
			a.mem.SetWord(page+slotIndex, uint64(i)+1)
			a.mem.Store(dir, page) // publishes the page to scans
			return page, nil
		}
		if want == hintsReserve {
			return 0, ErrFull
		}
		if want == hintsFree {
			want = hintsRoom
			continue
		}
		if err == errNoneFree {
			err = a.extend(1)
		}
		if errors.Is(err, ErrFull) && frees {
			want = hintsReserve
		} else if err != nil {
			return 0, err
		}
	}
}

// Mine reports whether this transaction allocated the block, for so many bytes (rule
// C6). A stray reference may lead to an own block that holds something else than a
// node of that size: to change it in place would write beyond the block.
func (s *Slot) Mine(off, size uint64) bool {
	w := s.m.Word(off)
	if w&^offMask != s.mark || w&offMask >= s.LogLen() {
		return false
	}
	return s.m.Word(s.logEntry(w&offMask)) == off|uint64(classOf(size))<<48
}

// Age is the place of an own block in the transaction's log; it grows with
// every allocation.
func (s *Slot) Age(off uint64) uint64 { return s.m.Word(off) & offMask }

// LogLen is the Age of the next block.
func (s *Slot) LogLen() uint64 {
	n := s.logTop & (pageSize - 1)
	if len(s.logs) > 0 {
		n += slotLogCap + uint64(len(s.logs)-1)*logCap
	}
	return n
}

// Mem is the read-write view of data.
func (s *Slot) Mem() region.Mem { return *s.m }

// BlockSize is the size of the block that Alloc(size) hands out.
func (s *Slot) BlockSize(size uint64) uint64 { return BlockSize(size) }

// Delta is by how many bytes of blocks the transaction has made the store
// larger.
func (s *Slot) Delta() int64 { return s.delta }

// Alloc returns a block of at least size bytes. It is in the log before it
// leaves the magazine, so that a death in between is told by finding it in
// both; its first word is the slot's mark.
func (s *Slot) Alloc(size uint64) (uint64, error) {
	if s.logFull() {
		if err := s.growLog(); err != nil {
			return 0, err
		}
	}
	c := classOf(size)
	if c == classRun {
		return s.allocRun(size)
	}
	if s.mags[c] == 0 {
		// Refilling may also free blocks, onto the magazine, before it fails.
		if err := s.refill(c); err != nil && s.mags[c] == 0 {
			return 0, err
		}
	}
	b := s.mags[c]
	next := s.m.Word(b + 8)
	if next != 0 {
		if err := s.checkBlock(b+8, next); err != nil {
			return 0, err
		}
	}
	n := s.LogLen()
	s.pushLog(b | uint64(c)<<48)
	s.setMag(c, next)
	s.magLen[c]--
	s.taken[c]++
	s.m.Release(b, s.mark|n)
	s.delta += int64(classes[c].size)
	return b, nil
}

// checkBlock verifies the offset of a block that came from shared memory.
func (s *Slot) checkBlock(at, off uint64) error {
	if off%8 != 0 || off < segments[0].first || off > s.a.end.Load()-16 {
		return region.Corrupt(at, "offset of a block", off, "an offset within the store")
	}
	return nil
}

func (s *Slot) setMag(c int, b uint64) {
	s.mags[c] = b
	s.m.SetWord(s.base+slotMags+uint64(c)*8, b)
}

func (s *Slot) setSlab(c int, p uint64) {
	s.slabs[c] = p
	s.m.SetWord(s.base+slotSlabs+uint64(c)*8, p)
}

// allocRun allocates a block of whole pages.
func (s *Slot) allocRun(size uint64) (uint64, error) {
	k := roundUp(size, pageSize) >> pageShift
	p, err := s.claimPages(k)
	if err != nil {
		return 0, err
	}
	s.become(p, k, pageRun, 0)
	n := s.LogLen()
	s.pushLog(p | classRun<<48)
	s.endRecord()
	s.m.Release(p, s.mark|n)
	s.delta += int64(k) << pageShift
	return p, nil
}

// Discard gives an own block back that the transaction does not need after
// all: to the magazine first, then out of the log.
func (s *Slot) Discard(off, size uint64) {
	entry, c := s.logEntry(s.Age(off)), classOf(size)
	if s.m.Word(entry) != off|uint64(c)<<48 {
		return // a damaged block that says that it is this transaction's
	}
	if c == classRun {
		k := roundUp(size, pageSize) >> pageShift
		s.freePages(off, k, func() { s.m.SetWord(entry, 0) })
		s.delta -= int64(k) << pageShift
	} else {
		s.pushMag(c, off)
		s.m.SetWord(entry, 0)
		s.delta -= int64(classes[c].size)
	}
}

// Retire notes a published block that the transaction's result does not reach
// any more.
func (s *Slot) Retire(off, size uint64) {
	c := classOf(size)
	if c != classRun {
		size = classes[c].size
	} else {
		size = roundUp(size, pageSize)
	}
	s.retired = append(s.retired, retiredBlock{off | uint64(c)<<48, size})
	s.delta -= int64(size)
}

// Unretire takes back that a block was retired by this transaction.
func (s *Slot) Unretire(off uint64) {
	for i, r := range s.retired {
		if r.block&offMask == off {
			s.delta += int64(r.size)
			s.retired = slices.Delete(s.retired, i, i+1)
			return
		}
	}
}

// logEntry returns the offset of log entry i.
func (s *Slot) logEntry(i uint64) uint64 {
	if i < slotLogCap {
		return s.base + slotLog + i*8
	}
	i -= slotLogCap
	return s.logs[i/logCap] + logEntries + i%logCap*8
}

func (s *Slot) setLogTop(top uint64) {
	s.logTop = top
	s.m.SetWord(s.base+slotLogTop, top)
}

func (s *Slot) logFull() bool {
	n := s.logTop & (pageSize - 1)
	if len(s.logs) == 0 {
		return n == slotLogCap
	}
	return n == logCap
}

// pushLog writes an entry, for which there is room, then counts it.
func (s *Slot) pushLog(entry uint64) {
	s.m.SetWord(s.logEntry(s.LogLen()), entry)
	s.setLogTop(s.logTop + 1)
}

// growLog adds a page to the log. The page's link back is there before the log
// reaches it.
func (s *Slot) growLog() error {
	p, err := s.claimPages(1)
	if err != nil {
		return err
	}
	s.become(p, 1, pageChunk, 0)
	s.m.SetWord(p+logPrev, s.logTop&^(pageSize-1))
	s.logs = append(s.logs, p)
	s.setLogTop(p)
	s.endRecord()
	return nil
}

// shrinkLog frees the log's newest page, whose entries count no more.
func (s *Slot) shrinkLog() {
	n := len(s.logs) - 1
	p := s.logs[n]
	s.logs = s.logs[:n]
	below := s.base + slotLogCap
	if n > 0 {
		below = s.logs[n-1] + logCap
	}
	s.freePages(p, 1, func() { s.setLogTop(below) })
}

// dropLog empties the log without freeing what it names.
func (s *Slot) dropLog() {
	for len(s.logs) > 0 {
		s.shrinkLog()
	}
	s.setLogTop(s.base)
}

// Rewind frees the blocks of all log entries from the n-th on, newest first.
func (s *Slot) Rewind(n uint64) {
	for s.LogLen() > n {
		if s.logTop&(pageSize-1) == 0 {
			s.shrinkLog()
			continue
		}
		s.undo(s.m.Word(s.logEntry(s.LogLen() - 1)))
	}
}

// checkLogged verifies a log entry that is not 0.
func (s *Slot) checkLogged(at, entry uint64) error {
	off, c := entry&offMask, int(entry>>48)
	if c == classPage {
		return s.a.checkPages(at, "page in a log", off, 1)
	}
	return s.checkPlace(at, off, c)
}

// undo frees the newest log entry's block and takes the entry off the log.
func (s *Slot) undo(entry uint64) {
	off, c := entry&offMask, int(entry>>48)
	switch {
	case entry == 0 || s.checkLogged(s.base+slotLogTop, entry) != nil:
		s.setLogTop(s.logTop - 1) // what a damaged one names stays as it is
	case c == classRun || c == classPage:
		k := uint64(1)
		if c == classRun {
			k = s.a.runPages(off)
			s.delta -= int64(k) << pageShift
		}
		s.freePages(off, k, func() { s.setLogTop(s.logTop - 1) })
	default:
		s.delta -= int64(classes[c].size)
		s.pushMag(c, off)
		s.setLogTop(s.logTop - 1)
	}
}

func (a *Arena) runPages(p uint64) uint64 { return a.ro.Load(desc(p) + descInfo) }

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
		d := desc(p) + descBitmap
		for i := range 4 {
			at := d + uint64(i)*8
			if mask := slabMask(c, i) &^ s.a.ro.Load(at); mask != 0 {
				s.m.SetWord(s.base+slotRefillMask, mask)
				s.m.Store(s.base+slotRefillAt, at)
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
		b := p + uint64(word*64+top)*classes[c].size
		s.m.SetWord(b+8, below)
		s.m.Store(b, 0)
		below = b
	}
}

// finishRefill does what follows once the bits are set. Doing it twice is
// harmless.
func (s *Slot) finishRefill(p uint64, c, word int, mask uint64) {
	first := p + uint64(word*64+bits.TrailingZeros64(mask))*classes[c].size
	if s.mags[c] != first {
		s.setMag(c, first)
		s.magLen[c] += bits.OnesCount64(mask)
	}
	s.m.Store(s.base+slotRefillAt, 0)
}

// takeSlab gets the slot a slab with free blocks: one that nobody owns, else a
// new one.
func (s *Slot) takeSlab(c int) error {
	a, k := s.a, classes[c].pages
	take := func(p uint64, st pageState) bool {
		if st.class() != c || s.avoids(p) || a.checkPages(desc(p), "a slab", p, k) != nil {
			return false
		}
		return s.takeShared(p, st, pageSlabOwned, func() { s.setSlab(c, p) })
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
	s.become(p, k, pageSlabOwned, c)
	s.setSlab(c, p)
	s.endRecord()
	return nil
}

// takeShared makes a shared slab or set-aside page the slot's own by one CAS,
// and links it.
func (s *Slot) takeShared(p uint64, st pageState, state int, link func()) bool {
	s.record(recTake, p, 1, st.gen()+1, st.gen()+1)
	ok := s.a.casPage(p, st, makeState(state, st.class(), s.idx, st.gen()+1))
	if ok {
		link()
	}
	s.endRecord()
	return ok
}

// disown gives the slot's slab of a class up, for anybody to take.
func (s *Slot) disown(c int) { s.shareSlab(s.slabs[c], func() { s.setSlab(c, 0) }) }

// shareSlab makes an owned slab shared, or frees it if it is empty. What was
// freed in it while it was owned was not announced.
func (s *Slot) shareSlab(p uint64, unlink func()) {
	a := s.a
	st := a.page(p)
	if a.emptySlab(p) {
		// Nobody but the owner sets bits: it stays empty.
		s.freePages(p, classes[st.class()].pages, unlink)
		return
	}
	a.mem.Store(desc(p)+descState, uint64(makeState(pageSlabShared, st.class(), 0, st.gen()+1)))
	if a.clearBits(p, st.class()) {
		a.hint(p, hintOf(st.class()))
	}
	unlink()
}

// slabOf returns the first page of the slab that a block of the class is in,
// and the block's bit.
func (a *Arena) slabOf(off uint64, c int) (p uint64, bit uint64) {
	p = off &^ (pageSize - 1)
	if classes[c].pages > 1 {
		if a.page(p).state() == pageCont {
			// A wrong one is as good as none: the page is not a slab's first.
			if q := a.ro.Load(desc(p) + descInfo); q%pageSize == 0 && q < p && p-q < classes[c].pages<<pageShift {
				p = q
			}
		}
	}
	return p, (off - p) * classes[c].recip >> 32
}

// giveBack returns a block to its slab (rule B2): stamp it, note it, clear its
// bit, announce it, and unlink it from where it was. The stamp comes before the
// note, so that a noted block without the stamp is one that somebody has taken
// into use again. next is the block below it when it comes from the top of a
// magazine: once the bit is clear, others may write to the block.
func (s *Slot) giveBack(c int, off, next uint64, unlink func()) {
	a := s.a
	s.m.Store(off, returnOf(s.idx))
	s.m.SetWord(s.base+slotReturnNext, next)
	s.m.SetWord(s.base+slotReturn, off|uint64(c)<<48)
	p, bit := a.slabOf(off, c)
	s.m.And(desc(p)+descBitmap+bit>>6*8, ^(1 << (bit & 63)))
	st := a.page(p)
	if st.state() == pageSlabShared {
		a.hint(p, hintOf(c))
	}
	unlink()
	s.m.SetWord(s.base+slotReturn, 0)

	if st.state() == pageSlabShared && st.class() == c && a.emptySlab(p) {
		// Nobody owns it and its last block went.
		s.takeShared(p, st, pageSlabOwned, func() { s.shareSlab(p, func() {}) })
	}
}

// redoReturn finishes what giveBack had begun when its slot died. A block whose
// bit is set and that still carries the stamp has not been given back: the
// slab's owner writes over the stamp before it sets the bit again.
func (s *Slot) redoReturn(c int, off uint64) {
	a := s.a
	p, bit := a.slabOf(off, c)
	st := a.page(p)
	if s := st.state(); s != pageSlabOwned && s != pageSlabShared || st.class() != c || bit >= classes[c].blocks {
		return // the slab has been freed since
	}
	at, mask := desc(p)+descBitmap+bit>>6*8, uint64(1)<<(bit&63)
	if set := a.ro.Load(at)&mask != 0; set && a.ro.Load(off) == returnOf(s.idx) {
		s.m.And(at, ^mask)
	}
	a.hint(p, hintOf(c))
}
