package alloc

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/seed-869cc763/shmkv/alloc/layout"
	"github.com/seed-869cc763/shmkv/alloc/region"
)

// The word boot says whether what stands in data can be believed. While a store is open
// for writing, and if all its processes died, it names the boot of the system: pages of
// files outlive processes, and not a crash of the system. The last handle to close flushes
// all, and sets the word to 0. So these are its states, as an opening finds it:
//
//	this boot       go on: everything is as the last instruction of each process left it
//	0               closed, and all of it on disk
//	another boot    the system has crashed: recover (see rebuild.go)
//
// A store that was never open for writing on a disk has no checkpoint, not even a torn one.
// Such a store has come here as a whole, from a file system in memory, and can be believed
// whatever the word says. On a file system in memory nothing is flushed, and there are no
// checkpoints. A store that comes there loses those that it has.
//
// A copy of a store may not be on disk, although the store was. The word home identifies the
// file that was. The first handle to open a copy flushes it.
//
// A handle that opens the store for writing looks at the word after it has taken the lock
// of its proc, and before it writes anything. Under the word 0 it takes the boot lock, makes
// sure that there is a checkpoint of what is on disk, sets the word to BootOpening and
// flushes that, and then sets it to the boot: a crash of the system from then on finds a
// word that is not 0, and a checkpoint. Others go on only when they see the boot. If the
// first one dies before, the next one recovers from that checkpoint.
//
// A handle that closes gives up its proc first. Then it puts a number of its own into the
// word, looks whether any proc is locked, flushes, and sets the word from its number to 0
// by CAS. Who opens meanwhile takes the number away. So either the closer sees the lock of
// the opener, or the opener sees the number or 0. Of several closers the last one to put
// its number sees no lock. A death after any of these steps leaves this boot, or 0 after
// everything was flushed.
//
// The procs and pins of another boot mean nothing, and procs is never flushed. Whoever
// finds them first makes them anew under the boot lock, before it takes a proc.

// bootPatience is how long an opening waits for another that recovers the store without
// seeing it get on.
const bootPatience = 10 * time.Second

// closePatience is how long a handle that closes waits for the checkpoint of another one.
const closePatience = time.Second

// ErrRecover is matched by the error of a handle that cannot recover a store that needs it.
var ErrRecover = errors.New("the store needs recovery after a crash of the system")

// bootProcs makes procs anew if it is of another boot.
func (a *Arena) bootProcs() error {
	boot := uint64(a.b.boot())
	if a.shared.Load(layout.OffProcsBoot) == boot {
		return nil
	}
	return a.underBootLock(func(l locker) error {
		if a.shared.Load(layout.OffProcsBoot) == boot {
			return nil
		}
		// Whoever has a proc has come by here. So the system has not crashed since.
		if used, err := l.anyLocked(); used || err != nil {
			return errors.Join(err, fmt.Errorf("%w by processes under another boot id of the system (expected the same %s in all containers)", ErrInUse, bootFile))
		}
		a.shared.Zero(layout.OffWaitSeq, layout.OffProcsBoot-layout.OffWaitSeq)
		a.shared.Zero(layout.OffProcs, layout.ProcsSize-layout.OffProcs)
		a.shared.Store(layout.OffProcsBoot, boot)
		return nil
	})
}

// enterBoot makes sure that what stands in data can be believed, and that a later opening
// finds out if the system crashes. The handle has a proc's lock, or cannot write.
func (a *Arena) enterBoot() error {
	boot := a.b.boot()
	for {
		w := layout.BootWord(a.ro.Load(layout.OffBoot))
		stranger := a.stranger()
		switch {
		case w == boot && !stranger:
			return nil
		case !a.Writable():
			if w == 0 || w.Boot() == boot || a.neverOnDisk() {
				return nil
			}
			if a.dryRecovery {
				return a.dryRebuild()
			}
			return a.awaitRecovery()
		case w.Boot() == boot && !stranger:
			a.mem.CAS(layout.OffBoot, uint64(w), uint64(boot)) // somebody is closing it
			continue
		}
		err := a.underBootLock(func(locker) error {
			w := layout.BootWord(a.ro.Load(layout.OffBoot))
			stranger := a.stranger()
			if w.Boot() == boot && !stranger {
				return nil // another one has done it
			}
			if stranger {
				if err := a.settle(); err != nil {
					return err
				}
			}
			if w == 0 || w.Boot() == boot || a.neverOnDisk() {
				return a.enterClean()
			}
			return a.rebuild()
		})
		if err != nil {
			return err
		}
	}
}

// stranger reports whether data may not be on the disk that it lies on.
func (a *Arena) stranger() bool {
	return a.b.lasting() && (a.ro.Load(layout.OffHome) != a.b.home() || a.neverOnDisk())
}

// settle brings all of a store to the disk that it lies on. The caller holds the boot lock.
func (a *Arena) settle() error {
	a.mem.Store(layout.OffFlushFailed, 0) // it is that of another file
	if err := a.b.syncNames(); err != nil {
		return err
	}
	if err := a.flush(); err != nil {
		return err
	}
	a.mem.Store(layout.OffHome, a.b.home())
	return nil
}

// awaitRecovery waits for a process that recovers the store for this handle, which cannot.
func (a *Arena) awaitRecovery() error {
	needed := fmt.Errorf("%w, expected it to be opened for writing first", ErrRecover)
	if !a.shared.Valid() {
		return needed
	}
	return a.underBootLock(func(locker) error {
		w := layout.BootWord(a.ro.Load(layout.OffBoot))
		if w == 0 || w.Boot() == a.b.boot() {
			return nil
		}
		return needed
	})
}

// enterClean opens a store of which everything is on disk. The caller holds the boot lock.
func (a *Arena) enterClean() error {
	if !a.b.lasting() {
		a.leaveDisk()
		a.mem.Store(layout.OffBoot, uint64(a.b.boot()))
		return nil
	}
	if err := a.checkHeader(); err != nil {
		return err
	}
	word, version := a.current()
	root, err := a.rootNode(word, version)
	if err != nil {
		return err
	}
	newest, _ := a.newestCheckpoint()
	if newest.Version != version || newest.Root != root.Off {
		end, err := a.Limit()
		if err != nil {
			return err
		}
		if newest, err = a.writeCheckpoint(root, end); err != nil {
			return err
		}
	}
	a.mem.Store(layout.OffKept, version)
	a.beginJournal(newest)
	a.mem.Store(layout.OffKeeping, 0)
	a.mem.Store(layout.OffBoot, uint64(layout.BootOpening))
	if err := a.flush(); err != nil {
		return err
	}
	a.mem.Store(layout.OffBoot, uint64(a.b.boot()))
	return nil
}

// leaveBoot marks the store as closed if no handle is open. The handle has given up its
// proc, and does not write anything else.
func (a *Arena) leaveBoot() error {
	if !a.b.lasting() || a.ro.Load(layout.OffEnd) == layout.EndRewritten {
		return nil
	}
	if removed, err := a.b.removed(); removed || err != nil {
		return err
	}
	w := layout.BootWord(a.ro.Load(layout.OffBoot))
	mine := w.ClosedBy(rand.Uint64())
	if w.Boot() != a.b.boot() || !a.mem.CAS(layout.OffBoot, uint64(w), uint64(mine)) {
		return nil // somebody else closes or opens it
	}
	l, err := a.b.locks()
	if err != nil {
		return err
	}
	defer func() { _ = l.close() }()
	used, err := l.anyLocked()
	if used || err != nil {
		a.mem.CAS(layout.OffBoot, uint64(mine), uint64(mine.Boot()))
		return err
	}
	if err := a.flush(); err != nil {
		return err
	}
	if a.mem.CAS(layout.OffBoot, uint64(mine), 0) {
		return a.flush()
	}
	return nil
}

// underBootLock calls fn while the handle holds the boot lock.
func (a *Arena) underBootLock(fn func(l locker) error) error {
	l, err := a.b.locks()
	if err != nil {
		return err
	}
	defer func() { _ = l.close() }()
	seen, since := uint64(0), time.Now()
	for {
		ok, err := l.tryLock(bootLock)
		if err != nil {
			return err
		}
		if ok {
			return fn(l)
		}
		if n := a.ro.Load(layout.OffTraced); n != seen {
			seen, since = n, time.Now()
		}
		if time.Since(since) > bootPatience {
			return fmt.Errorf("%w: another process has been recovering the store for %v without getting on", ErrInUse, bootPatience)
		}
		time.Sleep(time.Millisecond)
	}
}

// enterWithoutProc is enterBoot for a handle that can write nothing.
func (a *Arena) enterWithoutProc() error {
	if err := a.enterBoot(); err != nil {
		return err
	}
	return a.checkHeader()
}

// leaveDisk drops the checkpoints of a store that is not on a disk.
func (a *Arena) leaveDisk() {
	if a.neverOnDisk() {
		return
	}
	for _, off := range []uint64{layout.OffKept, layout.OffKeeping, layout.OffCkptCount, layout.OffCkptTime, layout.OffDurable, layout.OffJournalBase} {
		a.mem.Store(off, 0)
	}
	a.mem.Zero(layout.OffCkpts, layout.OffTable-layout.OffCkpts)
}

// neverOnDisk reports whether the store has no checkpoint, and no torn or lost one.
func (a *Arena) neverOnDisk() bool {
	for i := range layout.CkptPages {
		for off := layout.CkptOff(i); off < layout.CkptOff(i)+layout.CkptSize; off += 8 {
			if a.ro.Load(off) != 0 {
				return false
			}
		}
	}
	return true
}

// checkHeader checks the words that everything else depends on.
func (a *Arena) checkHeader() error {
	if _, err := a.checkEnd(a.ro.Load(layout.OffEnd)); err != nil {
		return err
	}
	if h := a.ro.Load(layout.OffHorizon); h == 0 || h > layout.MaxVersion {
		return region.Corrupt(layout.OffHorizon, "horizon", fmt.Sprintf("%#x", h), "a version")
	}
	return nil
}
