package alloc

import (
	"cmp"
	"errors"
	"math"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/seed-869cc763/shmkv/alloc/layout"
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
	// surveyPages is the most pages that one survey looks at: 256 MiB of the file. The
	// next survey goes on behind them.
	surveyPages = 1 << 16
	// maxMoves is the most blocks that MakeRoom moves, except in its last batch.
	maxMoves = 4096
	// MakeRoom ends when it could not empty maxStuck windows, or has met maxHeld
	// that snapshots hold.
	maxStuck = 8
	maxHeld  = 256
	// maxSpent is how many pages of the reserve a batch may spend. If some of its
	// windows are not emptied then, evacuation ends: the reserve is there for deletes.
	maxSpent = 4
)

// roomState is the state of a handle's evacuations. mu admits one at a time.
type roomState struct {
	mu     sync.Mutex
	next   uint64 // where the next survey begins
	survey survey // for its memory

	// The last evacuation that gained nothing. Another one would gain nothing either,
	// until some space was freed or much was written.
	barren struct {
		pages, live, version, pins uint64
	}

	// The version and the number of free pages after the last evacuation that gained
	// something. A write that takes all of these pages, still finds no space and gives them
	// back has an empty slab, which the next evacuation would take for a gain.
	gained struct{ version, free uint64 }
}

// A Mover is how the layer above moves blocks.
type Mover struct {
	// Move moves the contents of a block of size bytes to another block, and commits
	// that. It reports false, and has done nothing, if the current version does not
	// reach the block.
	Move func(off, size uint64) (bool, error)
	// Guard calls read, and reports whether read touched a hole in the file for which
	// there was no memory. Others may free the blocks that read looks at.
	Guard func(read func()) (faulted bool)
}

// MakeRoom empties n windows of k pages, as far as that can be done by moving
// blocks, and reports whether it emptied any. It is called outside of transactions.
// disk says that there is no memory for holes, live is the bytes of the blocks that
// the root reaches. The first pages that come free fill up the reserve.
//
// One call looks at surveyPages pages at most and moves about maxMoves blocks. After a
// call that gained nothing the next ones do nothing, until the store has shrunk a little,
// or a snapshot has begun or ended, or enough commits have followed to pay for the look.
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
		// Single pages first: blocks of a long window may move there.
		e.n = int(min(4*k, surveyPages))
		if err = e.run(1); e.emptied > 0 && err == nil {
			e.emptied, e.n = 0, n
			err = e.run(int(min(k, surveyPages)))
		}
	}
	a.room.next = e.v.next
	g, free := &a.room.gained, a.ro.Load(layout.OffFreePages)
	gained := e.stocked > 0 || e.emptied > 0 && (a.Version() != g.version || free > g.free)
	g.version, g.free = a.Version(), free
	if gained || err != nil {
		b.pages = 0
		return gained, err
	}
	b.pages, b.pins = k, pins
	b.version = version + uint64(e.looked)/16
	b.live = live - min(live, uint64(e.looked))
	return false, nil
}

// snapshotPins is a number that changes when a snapshot begins or ends.
func (a *Arena) snapshotPins() (sum uint64) {
	for i := range min(int(a.shared.Load(layout.OffPinHigh)), layout.MaxSnapPins) {
		sum = (sum ^ a.shared.Load(snapPin(i)+layout.PinVersion)) * 0x9e3779b97f4a7c15
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
	for i := range min(int(a.ro.Load(layout.OffSlotHigh)), layout.MaxSlots) {
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
	chosen := v.choose(k, e.least, min(e.n+maxStuck+layout.ReservePages, surveyPages))
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
		stock := a.ro.Load(layout.OffReserve)
		s.leaveReserve = stock - min(stock, maxSpent)
		stuck := e.stuck
		if err := e.empty(batch); err != nil {
			return err
		}
		if e.stuck > stuck && a.ro.Load(layout.OffReserve) < stock && e.stuckMost == maxStuck {
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
			if moved, err = e.mover.Move(off, layout.Classes[c].Size); errors.Is(err, ErrFull) {
				if err = s.giveAll(); err == nil {
					moved, err = e.mover.Move(off, layout.Classes[c].Size)
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
	for range layout.ReservePages {
		if s.a.ro.Load(layout.OffReserve) >= s.a.reserve() {
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

// giveAll reclaims as much as it can and gives the slot's free blocks and slabs back. It
// waits a moment for the transactions of others, which hold the blocks that they may see,
// because deferring these takes pages.
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

// pinnedBefore reports whether a transaction builds on a version before the given one.
func (a *Arena) pinnedBefore(version uint64) bool {
	for i := range min(int(a.ro.Load(layout.OffSlotHigh)), layout.MaxSlots) {
		if v := a.shared.Load(slotPin(i) + layout.PinVersion); v != 0 && v < version {
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
