package shm_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/shm"
)

// openAt opens the store at path until the test ends.
func openAt(t testing.TB, path string) *shm.Store {
	t.Helper()
	s, err := shm.Open(path, &shm.Options{MustExist: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// alone verifies that there is nothing beside the store.
func alone(t testing.TB, path string) {
	t.Helper()
	names, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, names, 1)
}

// newSparse makes a closed store of n entries, most of which were deleted.
func newSparse(t testing.TB, n int) (path string, left map[int]bool, st shm.Stats) {
	t.Helper()
	path = testdir.Memory(t) + "/store"
	s, err := shm.Open(path, nil)
	require.NoError(t, err)
	s.StopKeeping() // or it would not stay sparse
	left = sparse(t, s, n)
	st = s.Stats()
	require.NoError(t, s.Close())
	return path, left, st
}

func TestRewrite(t *testing.T) {
	n := 100_000
	if testing.Short() {
		n /= 10
	}
	path, left, before := newSparse(t, n)
	var last, of int64
	require.NoError(t, shm.Rewrite(t.Context(), path, &shm.CopyOptions{Progress: func(done, total int64) { last, of = done, total }}))
	require.EqualValues(t, len(left), last)
	require.EqualValues(t, len(left), of)
	alone(t, path)

	s := openAt(t, path)
	st := s.Stats()
	per := func(n int64) float64 { return float64(n) / float64(st.LiveBytes) }
	t.Logf("allocated bytes per live byte: %.2f, were %.2f; of keys and values: %.2f; the file has %d bytes, had %d", per(st.AllocatedBytes),
		float64(before.AllocatedBytes)/float64(before.LiveBytes), float64(st.AllocatedBytes)/float64(st.DataBytes), st.FileBytes, before.FileBytes)
	holds(t, s, left)
	require.Less(t, st.AllocatedBytes, st.LiveBytes*11/10+384<<10)
	require.Less(t, st.FileBytes, before.FileBytes/4)
	require.Greater(t, st.Version, before.Version)
	require.Equal(t, before.MaxSize, st.MaxSize)
	require.Zero(t, sound(t, s).RetiredBytes/4096)
	v, err := s.Wait(t.Context(), before.Version)
	require.NoError(t, err)
	require.Equal(t, st.Version, v)
	set(t, s, "one", "more")
}

func TestRewriteMaxSize(t *testing.T) {
	path, left, before := newSparse(t, 20_000)
	for _, size := range []int64{1 << 30, 2 << 20} {
		require.NoError(t, shm.Rewrite(t.Context(), path, &shm.CopyOptions{MaxSize: size}))
		s, err := shm.Open(path, nil)
		require.NoError(t, err)
		require.Equal(t, size, s.Stats().MaxSize)
		holds(t, s, left)
		sound(t, s)
		require.NoError(t, s.Close())
	}
	require.Less(t, int64(2<<20), before.FileBytes, "that would not have fitted without")

	s, err := shm.Open(path, nil)
	require.NoError(t, err)
	require.NoError(t, s.Set(spaceKey(nil, -1), make([]byte, 800_000)))
	before = s.Stats()
	require.NoError(t, s.Close())
	require.ErrorIs(t, shm.Rewrite(t.Context(), path, &shm.CopyOptions{MaxSize: 1 << 20}), shm.ErrFull)
	require.Error(t, shm.Rewrite(t.Context(), path, &shm.CopyOptions{MaxSize: -1}))
	alone(t, path)
	s = openAt(t, path)
	require.Equal(t, before.Version, s.Version())
	require.Equal(t, before.MaxSize, s.Stats().MaxSize)
	_, err = s.Delete(spaceKey(nil, -1))
	require.NoError(t, err)
	holds(t, s, left)
}

// It stays the same store, for backups and for who may use it.
func TestRewriteStaysTheStore(t *testing.T) {
	path := testdir.Memory(t) + "/store"
	s, err := shm.Open(path, nil)
	require.NoError(t, err)
	set(t, s, "a", "1")
	first := testdir.Memory(t) + "/first"
	require.NoError(t, s.Backup(t.Context(), first))
	was := s.Inspect().Info()
	require.NoError(t, s.Close())
	files := []string{path, path + "/data", path + "/procs"}
	for i, mode := range []os.FileMode{0o751, 0o640, 0o662} {
		require.NoError(t, os.Chmod(files[i], mode))
		if os.Getuid() == 0 {
			require.NoError(t, os.Chown(files[i], 65533, 65534))
		}
	}
	link := testdir.Memory(t) + "/link"
	require.NoError(t, os.Symlink(path, link))
	require.NoError(t, shm.Rewrite(t.Context(), link, nil))
	st, err := os.Lstat(link)
	require.NoError(t, err)
	require.Equal(t, os.ModeSymlink, st.Mode().Type())
	for i, mode := range []os.FileMode{0o751, 0o640, 0o662} {
		st, err := os.Stat(files[i])
		require.NoError(t, err)
		require.Equal(t, mode, st.Mode().Perm())
		if os.Getuid() == 0 {
			owner := st.Sys().(*syscall.Stat_t)
			require.Equal(t, [2]uint32{65533, 65534}, [2]uint32{owner.Uid, owner.Gid})
		}
	}

	s = openAt(t, path)
	require.Equal(t, was, s.Inspect().Info())
	set(t, s, "b", "2")
	base, err := shm.Open(first, &shm.Options{ReadOnly: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, base.Close()) }()
	difference, restored := testdir.Memory(t)+"/difference", testdir.Memory(t)+"/restored"
	f, err := os.Create(difference)
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	require.NoError(t, base.View(func(older *shm.Snapshot) error {
		err := s.View(func(sn *shm.Snapshot) error {
			n, err := sn.BackupSince(t.Context(), older, f, nil)
			require.EqualValues(t, 1, n)
			return err
		})
		require.NoError(t, err)
		_, err = f.Seek(0, io.SeekStart)
		require.NoError(t, err)
		return shm.Restore(t.Context(), older.Path(), restored, []io.Reader{f}, nil)
	}))
	require.Equal(t, 2, openAt(t, restored).Len())
	require.Equal(t, was.ID, openAt(t, restored).Inspect().Info().Origin.ID)

	// A copy that nobody has written to shows the same afterwards.
	second := testdir.Memory(t) + "/second"
	require.NoError(t, s.View(func(sn *shm.Snapshot) error { return shm.Restore(t.Context(), sn.Path(), second, nil, nil) }))
	shows := func() (o shm.Origin, pristine bool) {
		b, err := shm.Open(second, nil)
		require.NoError(t, err)
		defer func() { require.NoError(t, b.Close()) }()
		o = *b.Inspect().Info().Origin
		pristine = o.At == b.Version()
		o.At = 0
		return o, pristine
	}
	one, pristine := shows()
	require.True(t, pristine)
	require.NoError(t, shm.Rewrite(t.Context(), second, nil))
	two, pristine := shows()
	require.True(t, pristine)
	require.Equal(t, one, two)
	b, err := shm.Open(second, nil)
	require.NoError(t, err)
	set(t, b, "c", "3")
	require.NoError(t, b.Close())
	require.NoError(t, shm.Rewrite(t.Context(), second, nil))
	two, pristine = shows()
	require.False(t, pristine)
	require.Equal(t, one, two)
}

// As long as somebody has the store open, nothing happens, and the error says who.
func TestRewriteInUse(t *testing.T) {
	path, left, _ := newSparse(t, 1000)
	for _, o := range []*shm.Options{nil, {ReadOnly: true}} {
		s, err := shm.Open(path, o)
		require.NoError(t, err)
		for range 2 {
			err = shm.Rewrite(t.Context(), path, nil)
			require.ErrorIs(t, err, shm.ErrInUse)
			require.ErrorContains(t, err, fmt.Sprintf("in use by process %d", os.Getpid()))
			require.Equal(t, 1, strings.Count(err.Error(), "process"))
		}
		alone(t, path)
		holds(t, s, left)
		require.NoError(t, s.Close())
	}
	require.NoError(t, shm.Rewrite(t.Context(), path, nil))
	holds(t, openAt(t, path), left)
}

// While it goes on, nobody else can open the store, also to rewrite it; who tries
// just before the end waits for it.
func TestRewriteKeepsOut(t *testing.T) {
	t.Parallel()
	path, left, _ := newSparse(t, 1000)
	late := make(chan error, 1)
	require.NoError(t, shm.Rewrite(t.Context(), path, &shm.CopyOptions{Progress: func(int64, int64) {
		_, err := shm.Open(path, nil)
		require.ErrorIs(t, err, shm.ErrInUse)
		require.ErrorContains(t, err, "being rewritten")
		require.ErrorIs(t, shm.Rewrite(t.Context(), path, nil), shm.ErrInUse)
		go func() {
			s, err := shm.Open(path, nil)
			if err == nil {
				err = errors.Join(s.Set([]byte("late"), nil), s.Close())
			}
			late <- err
		}()
	}}))
	require.NoError(t, <-late)
	s := openAt(t, path)
	require.Equal(t, len(left)+1, s.Len())
	alone(t, path)
	sound(t, s)
}

func TestRewriteIsInterrupted(t *testing.T) {
	path, left, before := newSparse(t, 50_000) // two transactions
	for _, when := range []int{0, 1, 2} {
		ctx, cancel := context.WithCancel(t.Context())
		if when == 0 {
			cancel()
		}
		n := 0
		err := shm.Rewrite(ctx, path, &shm.CopyOptions{Progress: func(int64, int64) {
			if n++; n == when {
				cancel()
			}
		}})
		cancel()
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, when, n)
		alone(t, path)
	}
	s := openAt(t, path)
	require.Equal(t, before.Version, s.Version())
	holds(t, s, left)
}

func TestRewriteRefuses(t *testing.T) {
	dir := t.TempDir()
	require.ErrorIs(t, shm.Rewrite(t.Context(), dir+"/absent", nil), os.ErrNotExist)
	require.NoError(t, os.Mkdir(dir+"/empty", 0o700))
	require.ErrorIs(t, shm.Rewrite(t.Context(), dir+"/empty", nil), os.ErrNotExist)
	require.NoError(t, os.WriteFile(dir+"/file", nil, 0o600))
	require.Error(t, shm.Rewrite(t.Context(), dir+"/file", nil))
}
