package record

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/seed-869cc763/shmkv/shm"
)

// boundOf returns how long the file of a store may become by what sessions write: the rest is for
// collections, which must write before they give room back.
func boundOf(maxSize int64) int64 { return maxSize - reserveOf(maxSize) }

// How much is kept, unless the store or its file system is very small.
const (
	leastKept = 512 << 10
	mostKept  = 256 << 20
)

// reserveOf returns what is kept of so many bytes.
func reserveOf(bytes int64) int64 {
	return min(max(bytes/16, leastKept), mostKept, bytes/4)
}

// update makes a transaction of a session or an import. An error that finds the store full says that room is kept; there
// may be more for the next transaction.
func (st *Storage) update(f func(*shm.Tx) error) error {
	err := st.store.Update(f)
	if errors.Is(err, shm.ErrFull) && st.keepRoom() {
		err = fmt.Errorf("%w (up to a sixteenth of it and of its file system, at most %d MiB, is kept for collections of garbage)", err, mostKept>>20)
	}
	return err
}

// keepRoom bounds the file of the handle's store for what sessions write, by its MaxSize and by the file system,
// which may have less room, also because of others. A Pack has no bound. It reports whether there is one.
func (st *Storage) keepRoom() bool {
	if !st.owned || st.readOnly {
		return false
	}
	st.roomMu.Lock()
	defer st.roomMu.Unlock()
	if st.unbounded > 0 {
		st.store.SetBound(0)
		return false
	}
	bound := boundOf(st.maxSize)
	if room, ok := st.fileSystemRoom(); ok {
		bound = max(min(bound, room), 1) // 0 would be none
	}
	st.store.SetBound(bound)
	return true
}

// fileSystemRoom returns the length that the file can have while the file system has as much left as is kept for
// collections: at most a quarter of the file's length, because those of a small store need little. A file system
// without a size, such as ramfs and a tmpfs without a limit, has no such length.
func (st *Storage) fileSystemRoom() (int64, bool) {
	path := filepath.Join(st.store.Path(), "data")
	var fs unix.Statfs_t
	file, err := os.Stat(path)
	if err != nil || unix.Statfs(path, &fs) != nil || fs.Blocks == 0 || fs.Frsize <= 0 {
		return 0, false
	}
	if max(fs.Blocks, fs.Bavail) > math.MaxInt64/2/uint64(fs.Frsize) { // as if it had none
		return 0, false
	}
	size, free := int64(fs.Blocks)*int64(fs.Frsize), int64(fs.Bavail)*int64(fs.Frsize)
	return file.Size() + free - min(reserveOf(size), max(file.Size()/4, leastKept)), true
}

// withoutBound lets a Pack use what is kept for it, until the function that it returns is called.
func (st *Storage) withoutBound() (end func()) {
	change := func(by int) {
		st.roomMu.Lock()
		st.unbounded += by
		st.roomMu.Unlock()
		st.keepRoom()
	}
	change(1)
	return func() { change(-1) }
}
