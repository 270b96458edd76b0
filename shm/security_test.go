// The race detector sees nothing of a mapping, and slows processes down.

//go:build !race

package shm

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/seed-869cc763/shmkv/internal/testdir"
)

// What SECURITY.md says and no other test proves.

// A pipe in the place of a file must not keep who opens it waiting.
func TestPipesInPlaceOfFiles(t *testing.T) {
	for _, pipes := range [][]string{{"data"}, {"procs"}, {"data", "procs"}} {
		path := newStoreFiles(t)
		for _, name := range pipes {
			require.NoError(t, os.Remove(filepath.Join(path, name)))
			require.NoError(t, unix.Mkfifo(filepath.Join(path, name), 0o600))
		}
		for _, o := range []*Options{nil, {MustExist: true}, {ReadOnly: true}} {
			refusedSoon(t, path, o, "size of")
		}
	}
	// Nobody has made data yet.
	path := testdir.Memory(t)
	require.NoError(t, unix.Mkfifo(filepath.Join(path, "procs"), 0o600))
	refusedSoon(t, path, nil, "reading procs")
}

// refusedSoon opens a store that is none, and proves that the error says so, and
// comes soon.
func refusedSoon(t *testing.T, path string, o *Options, says string) {
	t.Helper()
	var err error
	within(t, 5*time.Second, func() error { _, err = Open(path, o); return nil })
	require.ErrorContains(t, err, says)
}

// A file that is nothing but a hole, and says that it is a large store, must not
// cost the memory that such a store's tables would have.
func TestHoleInPlaceOfData(t *testing.T) {
	path := newStoreFiles(t)
	const length = 1 << 40
	data := filepath.Join(path, "data")
	patchSuper(t, data, superBytes, 3, length)
	patch(t, data, imgEnd, binary.LittleEndian.AppendUint64(nil, length))
	require.NoError(t, os.Truncate(data, length))
	for _, o := range []*Options{nil, {ReadOnly: true}} {
		refusedSoon(t, path, o, "memory behind data")
	}
}

// A link that leads out of the directory is not followed; the directory itself
// may be reached through one.
func TestLinksInPlaceOfFiles(t *testing.T) {
	for _, name := range []string{"data", "procs"} {
		path, other := newStoreFiles(t), newStoreFiles(t)
		before := contentsOf(t, other)
		require.NoError(t, os.Remove(filepath.Join(path, name)))
		require.NoError(t, os.Symlink(filepath.Join(other, name), filepath.Join(path, name)))
		for _, o := range []*Options{nil, {ReadOnly: true}, {MustExist: true}} {
			_, err := Open(path, o)
			require.ErrorContains(t, err, "escapes", name)
		}
		require.Equal(t, before, contentsOf(t, other))
	}
	path := newStoreFiles(t)
	link := path + "-link"
	require.NoError(t, os.Symlink(path, link))
	openSound(t, link)
}

func TestModeOfFiles(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o027))
	for _, c := range []struct{ mode, files, dir fs.FileMode }{
		{0, 0o600, 0o700},
		{0o666, 0o640, 0o750},
	} {
		path := filepath.Join(testdir.Memory(t), "store")
		s, err := Open(path, &Options{Mode: c.mode, MaxSize: 1 << 20})
		require.NoError(t, err)
		require.NoError(t, s.Close())
		for name, want := range map[string]fs.FileMode{"": c.dir, "data": c.files, "procs": c.files} {
			st, err := os.Stat(filepath.Join(path, name))
			require.NoError(t, err)
			require.Equal(t, want, st.Mode().Perm(), "%q with mode %v", name, c.mode)
		}
	}
}

// Who can read slots can lock all entries of it, and so keep others out; who has
// the store open goes on.
func TestReadLocksKeepOthersOut(t *testing.T) {
	path := newStoreFiles(t)
	s, err := Open(path, nil)
	require.NoError(t, err)
	defer func() { _ = s.Close() }()
	f, err := os.Open(filepath.Join(path, "procs"))
	require.NoError(t, err)
	for i := range int64(MaxProcesses) {
		err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_RDLCK, Start: i, Len: 1})
		require.Equal(t, i == 0, err != nil, "entry 0 is the handle's")
	}
	_, err = Open(path, nil)
	require.ErrorIs(t, err, ErrTooManyProcesses)
	require.NoError(t, s.Set([]byte("key"), []byte("goes on")))
	require.NoError(t, f.Close())
	checkSound(t, s)
	openSound(t, path)
}

// Who can cut a file short takes its memory from under everybody.
func TestTruncationFaults(t *testing.T) {
	for _, name := range []string{"data", "procs"} {
		path := newStoreFiles(t)
		s, err := Open(path, nil)
		require.NoError(t, err)
		require.NoError(t, os.Truncate(filepath.Join(path, name), 0))
		func() {
			defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
			require.Panics(t, func() { _ = s.View(func(sn *Snapshot) error { return nil }) }, name)
		}()
	}
}

// What a process has open does not reach the programs that it starts.
func TestCloseOnExec(t *testing.T) {
	path := newStoreFiles(t)
	for _, o := range []*Options{nil, {ReadOnly: true}} {
		s, err := Open(path, o)
		require.NoError(t, err)
		defer func() { _ = s.Close() }()
	}
	fds, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	open := 0
	for _, fd := range fds {
		to, err := os.Readlink(filepath.Join("/proc/self/fd", fd.Name()))
		if err != nil || !strings.HasPrefix(to, path) {
			continue
		}
		open++
		var n int
		_, err = fmt.Sscan(fd.Name(), &n)
		require.NoError(t, err)
		flags, err := unix.FcntlInt(uintptr(n), unix.F_GETFD, 0)
		require.NoError(t, err)
		require.NotZero(t, flags&unix.FD_CLOEXEC, to)
	}
	require.GreaterOrEqual(t, open, 4)
}
