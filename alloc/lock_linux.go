package alloc

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/seed-869cc763/shmkv/alloc/layout"
)

// locks opens slots for its locks alone: a lock of an opening that is also
// mapped would outlive its closing.
func (f *files) locks() (locker, error) {
	l, err := f.dir.OpenFile(nameProcs, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	return (*fileLocker)(l), nil
}

type fileLocker os.File

func (l *fileLocker) tryLock(proc int) (bool, error) {
	err := ofdLock((*os.File)(l), unix.F_WRLCK, int64(proc), 1)
	if err == unix.EAGAIN || err == unix.EACCES {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("locking proc %d: %w", proc, err)
	}
	return true, nil
}

func (l *fileLocker) unlock(proc int) error {
	if err := ofdLock((*os.File)(l), unix.F_UNLCK, int64(proc), 1); err != nil {
		return fmt.Errorf("unlocking proc %d: %w", proc, err)
	}
	return nil
}

func (l *fileLocker) anyLocked() (bool, error) {
	return l.locked(0, layout.MaxProcs)
}

func (l *fileLocker) held(proc int) (bool, error) { return l.locked(int64(proc), 1) }

// locked reports whether another opening holds a lock in a range.
func (l *fileLocker) locked(start, length int64) (bool, error) {
	lock := unix.Flock_t{Type: unix.F_WRLCK, Start: start, Len: length}
	for {
		err := unix.FcntlFlock((*os.File)(l).Fd(), unix.F_OFD_GETLK, &lock)
		if err == nil {
			return lock.Type != unix.F_UNLCK, nil
		} else if err != unix.EINTR {
			return false, fmt.Errorf("looking at the locks of procs: %w", err)
		}
	}
}

// close unlocks all before it closes the file. A program that this process is about to
// start has a copy of the descriptor for a moment, which would keep the locks.
func (l *fileLocker) close() error {
	err := ofdLock((*os.File)(l), unix.F_UNLCK, 0, 0)
	return errors.Join(err, (*os.File)(l).Close())
}

func ofdLock(f *os.File, kind int16, start, length int64) error {
	for {
		err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: kind, Start: start, Len: length})
		if err != unix.EINTR {
			return err
		}
	}
}

// makerLock is the byte that the maker of a file holds while it lives. It is
// none of the procs' bytes: slots keeps its inode when it gets its name.
const makerLock = 1 << 30
