package shm_test

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/shm"
)

func TestStatsAndLen(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		empty := s.Stats()
		require.Zero(t, empty.Entries)
		require.Zero(t, empty.DataBytes)
		require.Positive(t, empty.FileBytes)
		require.Positive(t, empty.AllocatedBytes)
		require.Equal(t, int64(16<<20), empty.MaxSize)
		require.Zero(t, s.Len())
		for i := range 100 {
			require.NoError(t, s.Set(fmt.Appendf(nil, "%03d", i), make([]byte, 97)))
		}
		st := other.Stats()
		require.Equal(t, int64(100), st.Entries)
		require.Equal(t, 100, other.Len())
		require.Equal(t, int64(100*100), st.DataBytes)
		require.Greater(t, st.LiveBytes, st.DataBytes)
		require.Less(t, st.LiveBytes, 2*st.DataBytes)
		for i := range 100 {
			_, err := other.Delete(fmt.Appendf(nil, "%03d", i))
			require.NoError(t, err)
		}
		st = s.Stats()
		require.Zero(t, st.Entries)
		require.Zero(t, st.DataBytes)
		require.Equal(t, empty.LiveBytes, st.LiveBytes, "equal contents take equal space")
	})
}

func TestPathAndInfo(t *testing.T) {
	dir := t.TempDir() + "/store"
	s, err := shm.Open(dir, &shm.Options{Mode: 0o640, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	require.Equal(t, dir, s.Path())
	info := s.Inspect().Info()
	require.NotEmpty(t, info.ID)
	require.WithinDuration(t, time.Now(), info.Created, time.Minute)
	for _, name := range []string{"data", "procs"} {
		st, err := os.Stat(dir + "/" + name)
		require.NoError(t, err)
		require.Zero(t, st.Mode().Perm()&^0o640)
	}
	st, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o750), st.Mode().Perm())

	// A handle stays valid when the directory is renamed.
	set(t, s, "k", "v")
	require.NoError(t, os.Rename(dir, dir+"2"))
	set(t, s, "k", "w")
	sound(t, s)
	other, err := shm.Open(dir+"2", &shm.Options{MustExist: true})
	require.NoError(t, err)
	require.Equal(t, "w", get(t, other, "k"))
	require.Equal(t, info, other.Inspect().Info())
	require.NoError(t, other.Close())
	require.NoError(t, s.Close())
	require.Equal(t, dir, s.Path(), "also after Close")
}

func TestOpenOptions(t *testing.T) {
	dir := t.TempDir() + "/store"
	for _, o := range []shm.Options{{MustExist: true}, {ReadOnly: true}} {
		_, err := shm.Open(dir, &o)
		require.ErrorIs(t, err, fs.ErrNotExist)
		require.ErrorContains(t, err, dir)
	}
	for _, o := range []shm.Options{{MaxSize: -1}, {MaxSize: 1 << 62}, {Mode: fs.ModeDir}, {Exclusive: true, ReadOnly: true}} {
		_, err := shm.Open(dir, &o)
		require.Error(t, err)
	}
	_, err := os.Stat(dir)
	require.ErrorIs(t, err, fs.ErrNotExist, "nothing was created")
	s, err := shm.Open(dir, &shm.Options{Exclusive: true, MaxSize: 1<<20 + 1})
	require.NoError(t, err)
	require.Equal(t, int64(1<<20+64<<10), s.Stats().MaxSize, "rounded up")
	_, err = shm.Open(dir, &shm.Options{Exclusive: true})
	require.ErrorIs(t, err, shm.ErrExist)
	require.ErrorIs(t, err, fs.ErrExist)
	set(t, s, "k", "v")

	ro, err := shm.Open(dir, &shm.Options{ReadOnly: true})
	require.NoError(t, err)
	require.Equal(t, "v", get(t, ro, "k"))
	require.ErrorIs(t, ro.Set([]byte("k"), nil), shm.ErrReadOnly)
	_, err = ro.Delete([]byte("k"))
	require.ErrorIs(t, err, shm.ErrReadOnly)
	_, _, err = ro.Swap([]byte("k"), nil)
	require.ErrorIs(t, err, shm.ErrReadOnly)
	_, err = ro.CompareAndSwap([]byte("k"), nil, nil)
	require.ErrorIs(t, err, shm.ErrReadOnly)
	require.ErrorIs(t, ro.Modify([]byte("k"), func([]byte, bool) ([]byte, bool) { return nil, false }), shm.ErrReadOnly)
	require.ErrorIs(t, ro.Update(func(*shm.Tx) error { return nil }), shm.ErrReadOnly)
	sn, err := ro.Snapshot()
	require.NoError(t, err)
	set(t, s, "k", "w")
	got, err := sn.Get([]byte("k"))
	require.NoError(t, err)
	require.Equal(t, "v", string(got), "a reader's pin holds too")
	version, err := ro.Wait(context.Background(), sn.Version())
	require.NoError(t, err)
	require.Equal(t, s.Version(), version)
	sound(t, ro)
	require.NoError(t, sn.Close())
	require.NoError(t, ro.Close())
	require.NoError(t, s.Close())
}

func TestErrorsSayWhere(t *testing.T) {
	s := fileStore(t, &shm.Options{MaxSize: 1 << 20})
	err := s.Set([]byte("k"), make([]byte, 2<<20))
	require.ErrorIs(t, err, shm.ErrTooLarge)
	require.ErrorContains(t, err, s.Path())
	err = s.Set(make([]byte, shm.MaxKey+1), nil)
	require.ErrorContains(t, err, "65537")
	require.ErrorContains(t, err, "65536")
}

func TestCheckIsCancelled(t *testing.T) {
	s := fileStore(t, nil)
	for i := range 100 {
		require.NoError(t, s.Set(numbered(i), nil))
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := s.Check(ctx, nil)
	require.ErrorIs(t, err, context.Canceled)
	last := int64(0)
	rep, err := s.Check(context.Background(), &shm.CheckOptions{Progress: func(done, total int64) {
		require.GreaterOrEqual(t, done, last)
		require.LessOrEqual(t, done, total)
		last = done
	}})
	require.NoError(t, err)
	require.Equal(t, rep.FileBytes, last)
}

func TestClosed(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		set(t, s, "k", "v")
		require.False(t, s.Closed())
		require.NoError(t, s.Close())
		require.True(t, s.Closed())
		require.Zero(t, s.Len())
		require.Zero(t, s.Version())
		require.Zero(t, s.Stats())
		require.False(t, other.Closed())
	})
}
