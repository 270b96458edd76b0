package alloc

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/seed-869cc763/shmkv/alloc/layout"
	"github.com/seed-869cc763/shmkv/alloc/region"
)

// Arena is one open handle on a store's memory. Its methods may be called from
// many goroutines; a Slot, which comes from it, belongs to one at a time.
type Arena struct {
	mem    region.Mem // data, read-write; without memory in a read-only handle
	ro     region.Mem // data, read-only
	shared region.Mem // procs, read-write; without memory where that is not permitted
	b      backing
	log    *slog.Logger

	super layout.Superblock
	end   atomic.Uint64 // bytes of data that may be touched, as far as the handle knows

	proc    int  // own proc, -1 without one
	crowded bool // without a proc, because dead writers have those that are left
	owner   layout.Owner
	handle  layout.Handle
	lock    locker // holds the proc
	asker   asker

	slots   slotPool
	pins    atomic.Pointer[pinTable] // nil until somebody pins
	pages   pageCursor
	room    roomState
	house   house
	adopt   sync.Mutex // one adoption at a time in this handle
	hinting sync.Mutex // one note of hints at a time in the handle's proc
	name    *nameCheck

	bells    [layout.Bells]bell
	watchers sync.WaitGroup // of bells

	users     userCount
	closed    atomic.Bool // no call may enter
	closing   sync.Mutex  // one Close at a time
	finished  sync.Once   // no call is inside: see finish
	finishErr error

	tallies [layout.MaxSlots]atomic.Pointer[region.Mem] // see tallyOf

	lastGate atomic.Uint64 // the gate that this handle has waited for, and does not wait for again

	checkpointing sync.Mutex // of who takes a checkpoint, or waits for another handle's

	newer   Newer // nil: the handle writes no journal
	journal journal

	trace       Tracer
	prove       Tracer // that a recovery tries the newest version with, or nil
	dryRecovery bool
	recovered   *Recovery
	bound       atomic.Uint64 // bytes beyond which this handle does not raise the end; 0: none
	counting    atomic.Bool   // written is wanted
	written     atomic.Uint64 // bytes of blocks that the handle has published

	pace   pace
	held   atomic.Uint64 // bytes deferred since the handle looked for dead pins
	testAt atomic.Uint64 // bytes after which it looks again
}

// attach checks the mapped files and takes a proc.
func (a *Arena) attach() error {
	a.proc = -1
	a.name = newNameCheck()
	a.slots.freed.L = &a.slots.mu
	a.testAt.Store(testPinsBytes)
	a.pace = pace{passCommits, lagCommits, firstHole, settleTime, slackBytes}
	size, err := a.b.size()
	if err != nil {
		return err
	}
	if size < layout.OffTable || a.ro.Size() < layout.MinSize {
		return region.Corrupt(0, "size of data", size, fmt.Sprintf("at least %d", layout.OffTable))
	}
	if a.super, err = layout.DecodeSuper(a.ro.AppendTo(nil, layout.OffSuper, layout.SuperSize)); err != nil {
		return err
	}
	if a.super.MaxSize != a.ro.Size() {
		return region.Corrupt(24, "maximum size", a.super.MaxSize, fmt.Sprint(a.ro.Size()))
	}
	if !a.shared.Valid() {
		return a.enterWithoutProc()
	}
	id, err := layout.DecodeProcsSuper(a.shared.AppendTo(nil, layout.OffProcsSuper, layout.ProcsSuperSize))
	if err != nil {
		return err
	}
	if id != a.super.ID {
		return fmt.Errorf("%w: data belongs to store %v and procs to store %v", region.ErrCorrupt, a.super.ID, id)
	}
	if err := a.bootProcs(); err != nil {
		return err
	}
	switch err := a.takeProc(); {
	case err == errDeadProcs:
		// A handle that cannot write data cannot adopt. It works without a proc, as
		// a handle that cannot write procs does.
		a.shared, a.crowded = region.Mem{}, true
		return a.enterWithoutProc()
	case err != nil:
		return err
	}
	if a.Writable() {
		if _, err := a.AdoptDead(); err != nil {
			a.leaveProc()
			return err
		}
		a.countReserve()
		if !a.b.lasting() {
			a.leaveDisk()
		}
	}
	return nil
}

// Closed reports whether Close was called.
func (a *Arena) Closed() bool { return a.closed.Load() }

// Writable reports whether the handle can write data.
func (a *Arena) Writable() bool { return a.mem.Valid() }

// CanPin reports whether the handle can pin versions, for which it needs write
// permission on procs.
func (a *Arena) CanPin() bool { return a.proc >= 0 }

// Mem is the read-only view of data.
func (a *Arena) Mem() region.Mem { return a.ro }

// Seed is the key of the store's hash.
func (a *Arena) Seed() (k0, k1 uint64) { return a.super.Seed[0], a.super.Seed[1] }

// MaxSize is the most that data can grow to, in bytes.
func (a *Arena) MaxSize() uint64 { return a.super.MaxSize }

// SetBound makes this handle raise the end to at most that many bytes, and to MaxSize with 0.
func (a *Arena) SetBound(bytes uint64) { a.bound.Store(bytes) }

// most is the most bytes to which this handle raises the end.
func (a *Arena) most() uint64 {
	if b := a.bound.Load(); b != 0 {
		return min(b&^(layout.PageSize-1), a.super.MaxSize)
	}
	return a.super.MaxSize
}

// ID names the store.
func (a *Arena) ID() [2]uint64 { return a.super.ID }

// FormatID writes the name of a store.
func FormatID(id [2]uint64) string { return layout.StoreID(id).String() }

// Origin is what the store was made to show, or zero.
func (a *Arena) Origin() layout.Origin { return a.super.Origin }

// Mode is the permission bits of data, 0 if there are none.
func (a *Arena) Mode() fs.FileMode { return a.b.mode() }

// Created is when the store was made, in Unix nanoseconds.
func (a *Arena) Created() int64 { return a.super.Created }

// FileBytes is the present length of data.
func (a *Arena) FileBytes() uint64 { return a.ro.Load(layout.OffEnd) }

// Punched reports whether there may be holes below the end: pages that were punched,
// and gaps that extend left. A read of a hole makes the kernel allocate memory for it,
// and faults if there is none. An optimistic read may follow a stale offset into a hole,
// so it is guarded then. The reader calls Punched after it has read the end, because a
// gap is announced before the end is raised over it.
func (a *Arena) Punched() bool { return a.ro.Load(layout.OffPunched) != 0 }

// Limit returns how many bytes of data may be touched: the published end, which is
// verified against the length of the file.
//
// Rule R1: a reader calls it after it has read the root word.
func (a *Arena) Limit() (uint64, error) {
	end := a.ro.Load(layout.OffEnd)
	if end == a.end.Load() {
		return end, nil
	}
	return a.checkEnd(end)
}

// Known returns how many bytes of data the handle knows to be touchable. That includes
// everything that a pinned version of the handle reaches.
func (a *Arena) Known() uint64 { return a.end.Load() }

// checkEnd verifies an end that the handle has not seen before. It comes from shared
// memory, and readers would fault beyond the end of the file if it were wrong.
func (a *Arena) checkEnd(end uint64) (uint64, error) {
	known := a.end.Load()
	if end == layout.EndRewritten && known != 0 {
		return known, fmt.Errorf("%w: it was rewritten, expected it to be opened again", ErrClosed)
	}
	size, err := a.b.size()
	if err != nil {
		return known, err
	}
	if end > min(size, a.ro.Size()) || end < layout.Segments[0].First || end%layout.PageSize != 0 {
		return known, region.Corrupt(layout.OffEnd, "end of the used file", end,
			fmt.Sprintf("a multiple of %d from %d to the file's size %d", layout.PageSize, layout.Segments[0].First, min(size, a.ro.Size())))
	}
	for end > known && !a.end.CompareAndSwap(known, end) {
		known = a.end.Load()
	}
	return max(end, known), nil
}

// debug logs, as long as the handle is open: the logger may call back, and would
// wait for a Close that it is part of.
func (a *Arena) debug(msg string, args ...any) {
	if a.log != nil && !a.closed.Load() {
		a.log.Info(msg, args...)
	}
}

// Close closes the handle. Calls and snapshots that are inside of it go on, and the last of
// them gives up what the handle has: its slots, its proc and its mappings. Whoever has a
// pin is inside, so there are no pins then. If nobody is inside, that is done when Close
// returns, also when it is a second Close, and all of them return the same.
func (a *Arena) Close() error {
	a.closing.Lock()
	defer a.closing.Unlock()
	u := a.users.enter()
	if !a.closed.Swap(true) {
		if a.CanPin() {
			a.WakeAll() // those who wait for a change
			a.closeBells()
		}
		a.slots.wakeAll() // those who wait for a slot
	}
	u.lane.count.Add(-1)
	if a.users.any() {
		return nil
	}
	return a.finish()
}

// finish gives up all that a closed handle has, when nobody is inside. It happens
// once; others wait for it and get the same error.
func (a *Arena) finish() error {
	a.finished.Do(func() {
		var failed error
		if a.Writable() && a.Lasting() && a.Kept() < a.Version() {
			failed = a.Checkpoint(closePatience)
		}
		a.closeJournal()
		if a.CanPin() {
			failed = errors.Join(failed, a.releaseSlots())
			a.leaveProc()
		}
		if a.Writable() {
			failed = errors.Join(failed, a.leaveBoot())
		}
		a.finishErr = errors.Join(failed, a.asker.close(), a.b.close())
	})
	return a.finishErr
}

// Idle gives back the slots that no transaction uses, and takes the pages of the mappings
// out of the process until they are accessed again. The caller is a user of the handle.
func (a *Arena) Idle() error {
	err := a.releaseSlots()
	a.b.unload()
	return err
}

// releaseSlots gives back the slots of the handle that nobody uses.
func (a *Arena) releaseSlots() (failed error) {
	for _, s := range a.slots.list() {
		if !s.retake() {
			continue // in use, or others have taken it while it was idle
		}
		if err := s.flush(); err != nil && !errors.Is(err, ErrFull) {
			failed = errors.Join(failed, err)
		}
		a.mem.Store(layout.OffOwners+uint64(s.idx)*8, 0)
	}
	return failed
}

// MaxBlock is the size of the largest block that a store of this maximum size can
// ever hold: a run cannot reach from one segment into the next, and where there is
// one segment only, some of its pages are never free.
func (a *Arena) MaxBlock() uint64 { return layout.MaxBlockOf(a.super.MaxSize) }
