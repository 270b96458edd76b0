package alloc

import (
	"io/fs"

	"github.com/seed-869cc763/shmkv/alloc/layout"
)

// A backing is where a store's two memories live: files, or the Go heap in
// tests of one process. It belongs to one handle.
type backing interface {
	// back gives n bytes at off memory behind them, so that touching them
	// cannot fail, and makes the file at least off+n long.
	back(off, n uint64) error
	// punch gives the memory behind n bytes back; they read as zeros.
	punch(off, n uint64) error
	// size is the present length of data in bytes.
	size() (uint64, error)
	// mode is the permission bits of data, 0 if there are none.
	mode() fs.FileMode
	// allocated is the memory behind data and procs, in bytes.
	allocated() (uint64, error)
	// removed reports whether data has no name any more.
	removed() (bool, error)
	// stale reports whether the path of the store does not lead to data.
	stale() (bool, error)
	// same reports whether another handle's data is the same memory.
	same(other backing) bool
	// locks opens the lock file another time: locks of one opening never conflict
	// with each other (rule D1).
	locks() (locker, error)
	// lasting reports whether what was flushed survives a crash of the system.
	lasting() bool
	// boot is the boot of the system.
	boot() layout.BootWord
	// home identifies the file that data is, among those of this boot. It is not 0.
	home() uint64
	// syncNames brings the names of the store's files to the disk.
	syncNames() error
	// flush brings data to the disk, as it is when flush begins or later.
	flush() error
	// openJournal opens the journal. If there is none, it makes one, or returns nil. If the
	// handle can write, what the file contains is on the disk then.
	openJournal(create bool) (journalFile, error)
	// truncate makes data that long.
	truncate(size uint64) error
	// ranges returns the ranges of data below a limit that have memory, in ascending
	// order. It may leave some out.
	ranges(limit uint64) [][2]uint64
	// unload takes the pages of all mappings out of the process, as far as possible. They
	// come back when they are accessed.
	unload()
	close() error
}

// A locker holds exclusive locks on procs until it is closed or its
// process dies.
type locker interface {
	tryLock(proc int) (bool, error)
	unlock(proc int) error
	// held reports whether another opening holds the lock of a proc. It takes no lock.
	held(proc int) (bool, error)
	// anyLocked reports whether others hold the lock of a proc.
	anyLocked() (bool, error)
	close() error
}
