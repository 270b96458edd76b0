package alloc

import (
	"errors"
	"fmt"
	"time"

	"github.com/seed-869cc763/shmkv/alloc/layout"
)

// A checkpoint is a version of the store that is on disk as a whole, and that a crash of
// the system leaves as it is. On a disk, the kernel writes the pages of data back when it
// likes and in any order, so after a crash everything else is a mixture of old and new
// pages. Blocks are never changed while something pins them. So a version that was
// flushed once, and that is pinned from then on, is there after a crash.
//
// The words, and who writes them:
//
//	kept         the version of the newest checkpoint that is on disk. It pins.
//	keeping      the version of the checkpoint that is being taken, or 0. It pins.
//	checkpoints  two records, each in a page of its own, with a checksum
//
// All of them are written by the holder of a lock, which its death drops. The steps, and
// what a crash of the system and a death leave after each:
//
//  1. If keeping is not 0, its writer died. Flush, so that the newest record is on disk,
//     set kept to its version, and keeping to 0. Crash, death: as before.
//  2. Pin the current version by keeping (rule P1), and read the end, which is behind all that
//     the version reaches. Crash: the newest record on disk, whose version kept pins. Death:
//     that, and the next holder begins at step 1.
//  3. Flush data. All that the version reaches is on disk, and the file is as long as that
//     end. A later end may be beyond the file after a crash. Crash, death: as after step 2.
//  4. Write the record over the older one. Crash: the new record, the one that kept pins,
//     or a torn one beside the one that kept pins. Death: as after step 2.
//  5. Flush data. Crash: the new record.
//  6. Set kept to the version, empty the journal (see journal.go), and set keeping to 0. Crash: the new record. Death: as after
//     step 2, or done.
//
// A flush that fails is the end of checkpoints: the kernel may have lost what it could not
// write, and says so once. The last checkpoint stays pinned and valid. A word in data says
// since when, so that no process takes a later flush for a success.

// lockPoll is how often a handle that waits for the checkpoint of another process looks
// whether that has died. The end of a checkpoint wakes it.
const lockPoll = 5 * time.Millisecond

// ErrFlush says that the system could not write data to the disk.
var ErrFlush = errors.New("data could not be written to disk")

// Lasting reports whether the store is on a disk, so that a checkpoint of it makes sense.
func (a *Arena) Lasting() bool { return a.b.lasting() }

// Kept returns the version of the newest checkpoint that is on disk, or 0.
func (a *Arena) Kept() uint64 { return a.ro.Load(layout.OffKept) }

// WrittenBytes returns how many bytes of blocks the handle has published since the first
// call.
func (a *Arena) WrittenBytes() uint64 {
	a.counting.Store(true)
	return a.written.Load()
}

// Checkpoint makes the current version, or a later one, a checkpoint, unless it is one. It
// does nothing if the store is not on a disk. The caller is a user of the handle. If
// another handle takes a checkpoint, Checkpoint waits for as long as patience, and then
// returns ErrInUse. Goroutines of a handle wait for each other, so that the commits of
// those who wait share the next checkpoint.
func (a *Arena) Checkpoint(patience time.Duration) error {
	return a.makeDurable(patience, a.Kept, a.timedCheckpoint)
}

// makeDurable calls do under the lock for checkpoints, unless reached is the current version
// by then.
func (a *Arena) makeDurable(patience time.Duration, reached func() uint64, do func() error) error {
	if !a.Writable() {
		return ErrReadOnly
	}
	if !a.b.lasting() {
		return nil
	}
	version := a.Version()
	if patience > 0 {
		a.checkpointing.Lock()
	} else if !a.checkpointing.TryLock() {
		return errCheckpointing(patience)
	}
	defer a.checkpointing.Unlock()
	for began := time.Now(); ; {
		durable := a.Durable()
		if reached() >= version {
			return nil
		}
		ok, err := a.lock.tryLock(checkpointLock)
		if err != nil {
			return err
		}
		if ok {
			break
		}
		left := patience - time.Since(began)
		if left <= 0 {
			return errCheckpointing(patience)
		}
		a.mem.FutexWait(layout.OffDurable, uint32(durable), min(left, lockPoll))
	}
	defer func() {
		_ = a.lock.unlock(checkpointLock)
		a.mem.FutexWake(layout.OffDurable)
	}()
	if reached() >= version {
		return nil
	}
	return do()
}

// timedCheckpoint takes a checkpoint, and counts it. The caller holds the lock.
func (a *Arena) timedCheckpoint() error {
	began := time.Now()
	if err := a.checkpoint(); err != nil {
		a.debug("taking a checkpoint failed", "err", err)
		return err
	}
	a.mem.Add(layout.OffCkptCount, 1)
	a.mem.Add(layout.OffCkptTime, uint64(time.Since(began)))
	return nil
}

func errCheckpointing(patience time.Duration) error {
	return fmt.Errorf("%w: another process is taking a checkpoint, for more than %v", ErrInUse, patience)
}

// Checkpoints tells about the checkpoints of a store.
type Checkpoints struct {
	Count   uint64        // that were taken since the store was made or recovered
	Took    time.Duration // all of them
	Version uint64        // of the newest one; 0: there is none
	Durable uint64        // the newest version that survives a crash of the system, by the journal
	At      time.Time     // when that was taken
	Root    uint64        // its root node, if it is known; 0 otherwise
	Failed  time.Time     // when the system could not write data to the disk, or zero
}

// Checkpoints returns what is known about the store's checkpoints.
func (a *Arena) Checkpoints() Checkpoints {
	c := Checkpoints{Count: a.ro.Load(layout.OffCkptCount), Took: time.Duration(a.ro.Load(layout.OffCkptTime)), Version: a.Kept(), Durable: a.Durable()}
	if newest, _ := a.newestCheckpoint(); newest.Version == c.Version && newest.Version != 0 {
		c.At = newest.At()
		if end, err := a.Limit(); err == nil && newest.Root < end {
			c.Root = newest.Root
		}
	}
	if t := a.ro.Load(layout.OffFlushFailed); t != 0 {
		c.Failed = time.Unix(0, int64(t)).UTC()
	}
	return c
}

// checkpoint takes a checkpoint. The caller holds the lock.
func (a *Arena) checkpoint() error {
	if a.ro.Load(layout.OffKeeping) != 0 { // 1
		if err := a.flush(); err != nil {
			return err
		}
		newest, _ := a.newestCheckpoint()
		a.mem.Store(layout.OffKept, newest.Version)
		a.mem.Store(layout.OffKeeping, 0)
	}
	var newest layout.Checkpoint
	word, version := a.pinVersionAt(a.mem, layout.OffKeeping) // 2
	root, err := a.rootNode(word, version)
	if err != nil {
		return err
	}
	end, err := a.Limit()
	if err == nil {
		err = a.flush() // 3
	}
	if err == nil {
		newest, err = a.writeCheckpoint(root, end) // 4, 5
	}
	if err != nil {
		return err
	}
	a.mem.Store(layout.OffKept, version) // 6
	a.beginJournal(newest)
	a.mem.Store(layout.OffKeeping, 0)
	return nil
}

// writeCheckpoint writes the record of a version that is on disk, with all of data below
// end, and flushes it.
func (a *Arena) writeCheckpoint(root Root, end uint64) (layout.Checkpoint, error) {
	_, at := a.newestCheckpoint()
	c := layout.Checkpoint{Version: root.Version, Root: root.Off, End: end, Time: time.Now().UnixNano()}
	a.mem.Write(layout.CkptOff((at+1)%layout.CkptPages), c.Encode(a.super.ID))
	return c, a.flush()
}

// newestCheckpoint returns the newest record that is not torn, and which of the two it
// is. If there is none, it returns the zero Checkpoint.
func (a *Arena) newestCheckpoint() (newest layout.Checkpoint, at int) {
	for i := range layout.CkptPages {
		c, ok := layout.DecodeCheckpoint(a.ro.AppendTo(nil, layout.CkptOff(i), layout.CkptSize), a.super.ID)
		if ok && c.Version > newest.Version {
			newest, at = c, i
		}
	}
	return newest, at
}

// flush brings all of data to disk.
func (a *Arena) flush() error {
	if err := a.flushFailed(); err != nil {
		return err
	}
	if err := a.b.flush(); err != nil {
		return a.noteFlushFailed(err)
	}
	return nil
}

// flushFailed returns an error if a flush has failed.
func (a *Arena) flushFailed() error {
	if t := a.ro.Load(layout.OffFlushFailed); t != 0 {
		return fmt.Errorf("%w since %v: expected a backup of the store, or Rewrite, to be used instead", ErrFlush, time.Unix(0, int64(t)))
	}
	return nil
}

// noteFlushFailed notes that a flush has failed, with the error of the system.
func (a *Arena) noteFlushFailed(err error) error {
	a.mem.CAS(layout.OffFlushFailed, 0, uint64(time.Now().UnixNano()))
	return fmt.Errorf("%w: %w", ErrFlush, err)
}
