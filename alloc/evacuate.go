package alloc

import (
	"cmp"
	"errors"
	"math"
	"math/bits"
	"runtime"
	"slices"
	"sync"
	"time"
)

// Evacuation makes free pages of slabs that are in use in part. A writer that is
// refused for lack of pages moves the blocks of the sparsest slabs to free blocks
// of other slabs, by ordinary commits; Compact does the same until nothing is gained
// any more.
//
// A window is a row of free pages and shared slabs. It can be emptied if for each
// block in use there is a free block of the same class outside, or, when the window is
// of several pages, a free page to make a slab of. The branches above a moved block are
// copied too, and may need a page: the mover may use the reserve, which the first pages
// that come free fill up again.
//
// Evacuation has no state in shared memory but its commits, so a death in the middle
// leaves an ordinary store. Writers of other slots do not know of a window: they may
// take a slab of it, and then it is not emptied. The mover itself takes no space in
// the windows that it has chosen: see Slot.avoid.

// NoRoom is the error for pages in a row that could not be had. It matches ErrFull.
type NoRoom struct {
	Pages uint64
	Disk  bool // there are pages, but the file system has no memory for them
	err   error
}

func (e *NoRoom) Error() string { return e.err.Error() }
func (e *NoRoom) Unwrap() error { return e.err }

// noRoom says in an error that matches ErrFull how many pages were asked for.
func noRoom(k uint64, err error) error {
	if !errors.Is(err, ErrFull) {
		return err
	}
	return &NoRoom{Pages: k, Disk: err != ErrFull, err: err}
}

const (
	// surveyPages is at how many pages one survey looks at most: 256 MiB of the
	// file. The next one goes on behind them.
	surveyPages = 1 << 16
	// maxMoves is how many blocks MakeRoom moves, but for those of its last batch.
	maxMoves = 4096
	// MakeRoom ends when it could not empty maxStuck windows, or has met maxHeld
	// that snapshots hold.
	maxStuck = 8
	maxHeld  = 256
	// maxSpent is how many pages of the reserve a batch may spend. If some of its
	// windows are not emptied then, evacuation ends: the reserve is there for deletes.
	maxSpent = 4
)

// A span is a range of offsets.
type span struct{ from, to uint64 }

// roomState is what a handle remembers of its evacuations. mu admits one at a time.
type roomState struct {
	mu     sync.Mutex
	next   uint64 // where the next survey begins
	survey survey // for its memory

	// The last one that gained nothing: looking again is of no use until some
	// space was freed, or much was written.
	barren struct {
		pages, live, version, pins uint64
	}
}

// A unit is a free page or a slab, or something that cannot be moved.
type unit struct {
	at    uint64
	pages int32
	class int32 // -1: free
	used  int32 // blocks
	fixed bool
}

// A survey is what evacuation knows of a part of the file.
type survey struct {
	units []unit
	found []window
	next  uint64          // where the next one begins, or 0
	pages int             // looked at
	left  [numClasses]int // free blocks in shared slabs outside of the planned windows
	empty int             // free pages outside of them
}

// look surveys up to surveyPages pages from an offset on. holes says that there is
// memory for holes.
func (a *Arena) look(v *survey, from uint64, holes bool) {
	*v = survey{units: v.units[:0], found: v.found[:0]}
	end := a.end.Load()
	if from >= end {
		from = 0
	}
	for k := range segments {
		g := &segments[k]
		if g.start >= end {
			break
		}
		if g.stop <= from {
			continue
		}
		v.units = append(v.units, unit{fixed: true})
		for p := max(from&^(pageSize-1), g.first); p < min(g.stop, end); {
			u := a.unitAt(p, min(g.stop, end), holes)
			v.units = append(v.units, u)
			switch {
			case u.fixed:
			case u.class < 0:
				v.empty++
			default:
				v.left[u.class] += int(classes[u.class].blocks) - int(u.used)
			}
			p += uint64(u.pages) << pageShift
			if v.pages += int(u.pages); v.pages >= surveyPages {
				v.next = p
				return
			}
		}
	}
}

// unitAt looks at the page p of a segment that ends at stop.
func (a *Arena) unitAt(p, stop uint64, holes bool) unit {
	switch st := a.page(p); st.state() {
	case pageHole:
		return unit{at: p, pages: 1, class: -1, fixed: !holes}
	case pageFree:
		return unit{at: p, pages: 1, class: -1}
	case pageSlabShared:
		c := st.class()
		if c < numClasses && p+classes[c].pages<<pageShift <= stop {
			return unit{at: p, pages: int32(classes[c].pages), class: int32(c), used: int32(a.usedBlocks(p, c))}
		}
	}
	return unit{at: p, pages: 1, fixed: true}
}

// sparse reports whether much is free in slabs that nobody owns, beyond a slack.
func (v *survey) sparse(slack uint64) bool {
	free, slabs := uint64(0), uint64(0)
	for c, n := range v.left {
		free += uint64(n) * classes[c].size
	}
	for i := range v.units {
		if u := &v.units[i]; !u.fixed && u.class >= 0 {
			slabs += uint64(u.pages) << pageShift
		}
	}
	return free > slabs/16+slack
}

// A window is units in a row.
type window struct {
	cost  uint64 // of emptying it
	first int    // unit
	stop  int
}

// A demand is what the blocks of some units need outside of them.
type demand struct {
	v     *survey
	k     int // pages that are to be emptied
	used  [numClasses]int
	free  [numClasses]int
	pages int // of the units
	empty int // of these, free
	fresh int // free pages for the blocks that have no free one outside
	lacks int // blocks for which there is none
	cost  uint64
}

// add counts a unit, or with sign -1 discounts it.
func (d *demand) add(u *unit, sign int) {
	d.pages += sign * int(u.pages)
	c := int(u.class)
	if c < 0 {
		d.empty += sign
		return
	}
	fresh, lacks := d.of(c)
	d.used[c] += sign * int(u.used)
	d.free[c] += sign * (int(classes[c].blocks) - int(u.used))
	now, nowLacks := d.of(c)
	d.fresh += now - fresh
	d.lacks += nowLacks - lacks
	d.cost += uint64(sign) * uint64(u.used) * (moveCost + classes[c].size)
}

// of returns what the blocks of a class need beyond free ones of it. A slab of one
// page may be made of any free page; that is of use when the window is longer.
func (d *demand) of(c int) (fresh, lacks int) {
	more := d.used[c] - (d.v.left[c] - d.free[c])
	switch n := int(classes[c].blocks); {
	case more <= 0:
		return 0, 0
	case d.k > 1 && classes[c].pages == 1:
		return (more + n - 1) / n, 0
	}
	return 0, more
}

// met reports whether there is what is needed.
func (d *demand) met() bool { return d.lacks == 0 && d.fresh <= d.v.empty-d.empty }

// choose returns up to n windows of at least k pages that can be emptied together,
// the cheapest first, of those that cost at least that much.
func (v *survey) choose(k int, least uint64, n int) (chosen []span) {
	v.windows(k, least)
	v.cheapest(8 * n)
	for _, w := range v.found {
		if len(chosen) < n && v.plan(w, k) {
			last := v.units[w.stop-1]
			chosen = append(chosen, span{v.units[w.first].at, last.at + uint64(last.pages)<<pageShift})
		}
	}
	return chosen
}

// cheapest sorts the windows by cost, without the dear ones if there are more than n.
func (v *survey) cheapest(n int) {
	var byLen [65]int
	for _, w := range v.found {
		byLen[bits.Len64(w.cost)]++
	}
	most := 0
	for sum := byLen[0]; most < 64 && sum < n; sum += byLen[most] {
		most++
	}
	v.found = slices.DeleteFunc(v.found, func(w window) bool { return bits.Len64(w.cost) > most })
	slices.SortFunc(v.found, func(a, b window) int {
		return cmp.Or(cmp.Compare(a.cost, b.cost), a.first-b.first)
	})
}

// windows finds the windows of at least k pages of which each could be emptied. They
// may overlap.
func (v *survey) windows(k int, least uint64) {
	d := demand{v: v, k: k}
	lo := 0
	for hi := range v.units {
		if v.units[hi].fixed {
			for ; lo < hi; lo++ {
				d.add(&v.units[lo], -1)
			}
			lo = hi + 1
			continue
		}
		d.add(&v.units[hi], 1)
		for d.pages-int(v.units[lo].pages) >= k {
			d.add(&v.units[lo], -1)
			lo++
		}
		if d.pages >= k && d.cost >= least && d.met() {
			v.found = append(v.found, window{d.cost, lo, hi + 1})
		}
	}
}

// moveCost is what the move of a block costs beside its bytes, in bytes.
const moveCost = 512

// plan takes what the blocks of a window need outside of it out of what is left, if
// there is enough.
func (v *survey) plan(w window, k int) bool {
	d := demand{v: v, k: k}
	units := v.units[w.first:w.stop]
	for i := range units {
		if units[i].fixed {
			return false // planned already
		}
		d.add(&units[i], 1)
	}
	if !d.met() {
		return false
	}
	v.empty -= d.empty + d.fresh
	for c := range d.used {
		fresh, _ := d.of(c)
		v.left[c] += fresh*int(classes[c].blocks) - d.used[c] - d.free[c]
	}
	for i := range units {
		units[i].fixed = true
	}
	return true
}

// A Mover is how the layer above moves blocks.
type Mover struct {
	// Move moves what stands in a block, of size bytes, to another one, and commits
	// that. It reports false, and has done nothing, if the current version does not
	// reach the block.
	Move func(off, size uint64) (bool, error)
	// Guard calls read, and reports whether that touched a hole in the file for
	// which there was no memory: others may free what is looked at.
	Guard func(read func()) (faulted bool)
}

// MakeRoom empties n windows of k pages, as far as that can be done by moving
// blocks, and reports whether it emptied any. It is called outside of transactions.
// disk says that there is no memory for holes, live is the bytes of the blocks that
// the root reaches. The first pages that come free fill up the reserve.
//
// One call looks at surveyPages pages at most and moves about maxMoves blocks. After
// one that gained nothing the next ones look at nothing, until the store has shrunk
// a little, or a snapshot has begun or ended, or there were so many commits that the
// look costs little for each.
func (s *Slot) MakeRoom(k uint64, n int, disk bool, live uint64, mover Mover) (bool, error) {
	a := s.a
	a.room.mu.Lock()
	defer a.room.mu.Unlock()
	b := &a.room.barren
	version, pins := a.Version(), a.snapshotPins()
	if b.pages != 0 && k >= b.pages && pins == b.pins && version < b.version && live > b.live {
		return false, nil
	}
	e := evacuation{s: s, batch: batchInHaste, v: &a.room.survey, from: a.room.next, n: n, disk: disk, stuckMost: maxStuck, heldMost: maxHeld, mover: mover}
	err := e.run(int(min(k, surveyPages)))
	if e.emptied == 0 && k > 1 && err == nil {
		// Single pages first: what is in the way of a long window may move there.
		e.n = int(min(4*k, surveyPages))
		if err = e.run(1); e.emptied > 0 && err == nil {
			e.emptied, e.n = 0, n
			err = e.run(int(min(k, surveyPages)))
		}
	}
	a.room.next = e.v.next
	if e.emptied+e.stocked > 0 || err != nil {
		b.pages = 0
		return e.emptied+e.stocked > 0, err
	}
	b.pages, b.pins = k, pins
	b.version = version + uint64(e.looked)/16
	b.live = live - min(live, uint64(e.looked))
	return false, nil
}

// snapshotPins is a number that changes when a snapshot begins or ends.
func (a *Arena) snapshotPins() (sum uint64) {
	for i := range min(int(a.shared.Load(offPinHigh)), maxSnapPins) {
		sum = (sum ^ a.shared.Load(snapPin(i)+pinVersion)) * 0x9e3779b97f4a7c15
	}
	return sum
}

// Densify empties all slabs that can be emptied in a part of the file, from an
// offset on, by some thousands of moves at most. It returns where the next call goes
// on, whether the end of the file was reached instead, and how many slabs it
// emptied. Now and then it calls step with how far it has come.
func (s *Slot) Densify(from uint64, step func(at uint64) error, mover Mover) (next uint64, end bool, emptied int, err error) {
	e := evacuation{s: s, batch: batchWindows, n: math.MaxInt32, least: 1, stuckMost: math.MaxInt, heldMost: math.MaxInt, from: from, v: &survey{}, step: step, mover: mover}
	if err = e.run(1); e.moves >= maxMoves && e.emptied > 0 {
		return from, false, e.emptied, err // there may be more
	}
	return e.v.next, e.v.next == 0, e.emptied, err
}

// An evacuation empties windows.
type evacuation struct {
	s     *Slot
	v     *survey
	from  uint64
	batch int
	n     int    // windows that are wanted
	least uint64 // that they cost: with 1 free pages are none
	disk  bool
	// A part of the file where little is free in slabs is left as it is.
	sparse bool
	mover  Mover
	step   func(at uint64) error
	// On how many windows it gives up, and how many that snapshots hold it meets.
	stuckMost, heldMost int

	looked, moves, stuck, held int
	emptied                    int // windows
	stocked                    int // windows whose pages fill up the reserve now
}

// run empties windows of k pages.
func (e *evacuation) run(k int) error {
	s, a := e.s, e.s.a
	relieving, reserve := s.relieving, s.mayTakeReserve
	s.relieving, s.mayTakeReserve = true, true
	defer func() {
		s.relieving, s.mayTakeReserve, s.avoid = relieving, reserve, s.avoid[:0]
		s.leaveReserve, s.tookReserve = 0, false
	}()
	for i := range min(int(a.ro.Load(offSlotHigh)), maxSlots) {
		a.emptyIdle(i)
	}
	if err := s.giveAll(); err != nil {
		return err
	}
	s.restock()
	v := e.v
	a.look(v, e.from, !e.disk)
	e.looked += v.pages
	if e.sparse && !v.sparse(a.pace.slack/4) {
		return nil
	}
	done := 0
	chosen := v.choose(k, e.least, min(e.n+maxStuck+reservePages, surveyPages))
	s.avoid = append(s.avoid[:0], chosen...)
	slices.SortFunc(s.avoid, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	for batch := range slices.Chunk(chosen, e.batch) {
		if e.step != nil {
			// They are not emptied in their order: this is a share of the part.
			end := v.next
			if end == 0 {
				end = a.end.Load()
			}
			done += len(batch)
			if err := e.step(e.from + (end-e.from)*uint64(done)/uint64(len(chosen))); err != nil {
				return err
			}
		}
		if e.emptied >= e.n || e.stuck >= e.stuckMost || e.held >= e.heldMost || e.moves >= maxMoves {
			break
		}
		stock := a.ro.Load(offReserve)
		s.leaveReserve = stock - min(stock, maxSpent)
		stuck := e.stuck
		if err := e.empty(batch); err != nil {
			return err
		}
		if e.stuck > stuck && a.ro.Load(offReserve) < stock && e.stuckMost == maxStuck {
			break
		}
	}
	return s.giveAll()
}

// A batch is the windows that are emptied before what was moved is reclaimed: few
// when a writer waits for them.
const (
	batchWindows = 64
	batchInHaste = 8
)

// empty moves all that is in some windows, as far as it can.
func (e *evacuation) empty(windows []span) error {
	s, a := e.s, e.s.a
	var held [batchWindows]bool
	for i, w := range windows {
		if e.mover.Guard(func() { held[i] = s.holdsAny(w) }) || held[i] {
			held[i] = true
			e.held++
			continue
		}
		var err error
		a.eachBlock(w, func(off uint64, c int) bool {
			var moved bool
			if moved, err = e.mover.Move(off, classes[c].size); errors.Is(err, ErrFull) {
				if err = s.giveAll(); err == nil {
					moved, err = e.mover.Move(off, classes[c].size)
				}
			}
			if moved {
				e.moves++
			}
			return err == nil
		})
		if err != nil && !errors.Is(err, ErrFull) {
			return err
		}
	}
	if err := s.giveAll(); err != nil {
		return err
	}
	for i, w := range windows {
		switch free, spent := a.isFree(w); {
		case held[i]:
		case free:
			e.emptied++
		case spent:
			e.stocked++
		default:
			e.stuck++
		}
	}
	return nil
}

// restock fills up the reserve from free pages.
func (s *Slot) restock() {
	for range reservePages {
		if s.a.ro.Load(offReserve) >= s.a.reserve() {
			return
		}
		p, err := s.tryClaim(1)
		if err != nil {
			return
		}
		s.freePages(p, 1, func() {})
	}
}

// TookReserve reports whether the slot has taken pages of the reserve since the last
// call. Then MakeRoom should fill it up again.
func (s *Slot) TookReserve() bool {
	took := s.tookReserve
	s.tookReserve = false
	return took
}

// giveAll reclaims what it can and gives the slot's free blocks and slabs back. It
// waits a moment for transactions of others that are under way, which hold what they
// may see: to set that aside takes pages.
func (s *Slot) giveAll() error {
	version := s.a.Version()
	for try := 0; try < giveTries && s.a.pinnedBefore(version); try++ {
		if try < giveTries/2 {
			runtime.Gosched()
		} else {
			time.Sleep(50 * time.Microsecond)
		}
	}
	if err := s.reclaim(s.a.Version(), 1<<30); err != nil && !errors.Is(err, ErrFull) {
		return err
	}
	return s.emptyMags()
}

// giveTries is how often giveAll looks whether the others have ended.
const giveTries = 8

// pinnedBefore reports whether a transaction is under way upon a version before
// the given one.
func (a *Arena) pinnedBefore(version uint64) bool {
	for i := range min(int(a.ro.Load(offSlotHigh)), maxSlots) {
		if v := a.shared.Load(slotPin(i) + pinVersion); v != 0 && v < version {
			return true
		}
	}
	return false
}

// avoids reports whether an offset lies in a window that the slot is emptying.
func (s *Slot) avoids(off uint64) bool { return len(s.avoid) > 0 && s.isAvoided(off) }

func (s *Slot) isAvoided(off uint64) bool {
	lo, hi := 0, len(s.avoid)
	for lo < hi {
		if mid := (lo + hi) / 2; s.avoid[mid].to <= off {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo < len(s.avoid) && s.avoid[lo].from <= off
}

// eachBlock calls visit for the blocks in use of a window, until it returns false.
// It reports whether all is slabs that nobody owns, and free pages.
func (a *Arena) eachBlock(w span, visit func(off uint64, c int) bool) bool {
	for p := w.from; p < w.to; {
		u := a.unitAt(p, w.to, true)
		if u.fixed {
			return false
		}
		if u.class >= 0 && !a.eachUsed(p, int(u.class), func(off uint64) bool { return visit(off, int(u.class)) }) {
			return false
		}
		p += uint64(u.pages) << pageShift
	}
	return true
}

// eachUsed calls visit for the blocks of a slab that are not free when their turn
// comes, until it returns false, and then reports false.
func (a *Arena) eachUsed(p uint64, c int, visit func(off uint64) bool) bool {
	for i := range 4 {
		at := desc(p) + descBitmap + uint64(i)*8
		for todo := slabMask(c, i); ; {
			if todo &= a.ro.Load(at); todo == 0 {
				break
			}
			if !visit(p + uint64(64*i+bits.TrailingZeros64(todo))*classes[c].size) {
				return false
			}
			todo &= todo - 1
		}
	}
	return true
}

// usedBlocks counts the blocks of a slab that are not free.
func (a *Arena) usedBlocks(p uint64, c int) (n int) {
	for i := range 4 {
		n += bits.OnesCount64(a.ro.Load(desc(p)+descBitmap+uint64(i)*8) & slabMask(c, i))
	}
	return n
}

// holdsAny reports whether a snapshot holds a block of the window, or one is not
// published: moving that frees nothing now.
func (s *Slot) holdsAny(w span) bool {
	a := s.a
	newest := uint64(0)
	for i := range min(int(a.shared.Load(offPinHigh)), maxSnapPins) {
		newest = max(newest, a.shared.Load(snapPin(i)+pinVersion))
	}
	return !a.eachBlock(w, func(off uint64, _ int) bool {
		birth := a.ro.Load(off)
		return birth > newest && birth <= maxVersion
	})
}

// isFree reports whether all pages of a window are free, and whether they are free
// or in the reserve.
func (a *Arena) isFree(w span) (free, spent bool) {
	free, spent = true, true
	for p := w.from; p < w.to; p += pageSize {
		if st := a.page(p); !st.free() {
			free = false
			spent = spent && st.state() == pageReserve
		}
	}
	return free, spent
}
