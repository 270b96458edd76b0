package shm_test

import (
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/shm"
)

// A crash of the system leaves the journal, with which the next opening brings the store to
// the last durable commit. So does every later one.
func TestJournal(t *testing.T) {
	path := filepath.Join(testdir.Disk(t), "store")
	s := openPolicy(t, path, shm.EveryCommit())
	set(t, s, "a", "1")
	kept := s.Stats().Checkpoints.Version
	old := filepath.Join(testdir.Disk(t), "store")
	copyStore(t, path, old)
	for i := range 100 {
		set(t, s, fmt.Sprint(i), strings.Repeat("v", i))
		_, err := s.Ordered("o").Add(fmt.Append(nil, i%7), 1)
		require.NoError(t, err)
	}
	require.Equal(t, kept, s.Stats().Checkpoints.Version)
	for _, data := range []string{path, old} { // all of data was written back, or nothing since the checkpoint
		crashed := filepath.Join(testdir.Disk(t), "store")
		copyStore(t, data, crashed)
		copyStore(t, filepath.Join(path, "journal"), filepath.Join(crashed, "journal"))
		testdir.CrashSystem(t, crashed)

		dry, err := shm.Recover(crashed, &shm.RecoverOptions{DryRun: true})
		require.NoError(t, err)
		require.Equal(t, 200, dry.Records)
		require.Equal(t, s.Version(), dry.Version)

		back := openPolicy(t, crashed, shm.EveryCommit())
		r := back.Recovery()
		require.Equal(t, 200, r.Records)
		require.Equal(t, s.Version(), r.Version)
		require.Less(t, r.Age, time.Minute)
		require.Equal(t, s.Version(), back.Version())
		require.Equal(t, s.Len(), back.Len())
		require.Equal(t, strings.Repeat("v", 99), get(t, back, "99"))
		sound(t, back)
		require.Equal(t, s.Version(), back.Stats().Checkpoints.Version)
	}
}

// Handles of several processes write one journal, and others read and write without it.
func TestJournalOfSeveral(t *testing.T) {
	path := filepath.Join(testdir.Disk(t), "store")
	var all []*shm.Store
	for range 3 {
		all = append(all, openPolicy(t, path, shm.EveryCommit()))
	}
	other := openPolicy(t, path, shm.OnSync())
	done := make(chan error)
	for i, s := range all {
		go func() {
			for j := range 50 {
				if err := s.Set(fmt.Appendf(nil, "%d.%d", i, j), make([]byte, 3000)); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range all {
		require.NoError(t, <-done)
	}
	require.Equal(t, other.Version(), other.Stats().Checkpoints.Durable)
	set(t, other, "x", "1")
	require.Less(t, other.Stats().Checkpoints.Durable, other.Version())
	require.NoError(t, other.Sync())
	require.Equal(t, other.Version(), other.Stats().Checkpoints.Version, "it writes no journal")
	require.NoError(t, all[0].Set([]byte("y"), nil))
	require.Less(t, other.Stats().Checkpoints.Version, other.Version())

	crashed := filepath.Join(testdir.Disk(t), "store")
	copyStore(t, path, crashed)
	testdir.CrashSystem(t, crashed)
	back := openPolicy(t, crashed, nil)
	require.Equal(t, 151+1, back.Len())
	require.Equal(t, 1, back.Recovery().Records)
}

// In the place of the journal there is something else. Commits are durable by checkpoints, the
// log says why, and what is there stays.
func TestNoJournal(t *testing.T) {
	for name, make := range map[string]func(t *testing.T, path string){
		"a pipe":      func(t *testing.T, path string) { require.NoError(t, unix.Mkfifo(path, 0o600)) },
		"a directory": func(t *testing.T, path string) { require.NoError(t, os.Mkdir(path, 0o700)) },
		"a file":      func(t *testing.T, path string) { require.NoError(t, os.WriteFile(path, []byte("mine"), 0o600)) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(testdir.Disk(t), "store")
			first := openPolicy(t, path, nil)
			set(t, first, "a", "1")
			make(t, filepath.Join(path, "journal"))
			before, err := os.Lstat(filepath.Join(path, "journal"))
			require.NoError(t, err)

			var log strings.Builder
			s, err := shm.Open(path, &shm.Options{Checkpoint: shm.EveryCommit(), Logger: slog.New(slog.NewTextHandler(&log, nil))})
			require.NoError(t, err)
			set(t, s, "b", "2")
			set(t, s, "c", "3")
			require.Equal(t, s.Version(), s.Stats().Checkpoints.Version)
			require.Equal(t, 1, strings.Count(log.String(), "journal cannot be"))
			require.NoError(t, s.Close())

			after, err := os.Lstat(filepath.Join(path, "journal"))
			require.NoError(t, err)
			require.Equal(t, before.Mode(), after.Mode())
			require.Equal(t, before.Size(), after.Size())

			crashed := filepath.Join(testdir.Disk(t), "store")
			copyStore(t, path, crashed)
			testdir.CrashSystem(t, crashed)
			_, err = shm.Open(crashed, nil)
			require.ErrorIs(t, err, shm.ErrRecover, "it may have been the journal")
			require.ErrorContains(t, err, "journal")
			require.NoError(t, os.Remove(filepath.Join(crashed, "journal")))
			require.Equal(t, "3", get(t, openPolicy(t, crashed, nil), "c"))
		})
	}
}

// The journal has the permission bits of the data, is a file of the store, and is left by
// Rewrite, which makes a store without one.
func TestJournalIsOfTheStore(t *testing.T) {
	path := filepath.Join(testdir.Disk(t), "store")
	s, err := shm.Open(path, &shm.Options{Checkpoint: shm.EveryCommit(), Mode: 0o640, MaxSize: 16 << 20})
	require.NoError(t, err)
	before := s.Stats().AllocatedBytes
	set(t, s, "a", "1")
	require.GreaterOrEqual(t, s.Stats().AllocatedBytes-before, int64(8<<20))
	data, err := os.Stat(filepath.Join(path, "data"))
	require.NoError(t, err)
	journal, err := os.Stat(filepath.Join(path, "journal"))
	require.NoError(t, err)
	require.Equal(t, data.Mode(), journal.Mode())
	require.NoError(t, s.Close())
	require.NoError(t, shm.Rewrite(t.Context(), path, nil))
	_, err = os.Stat(filepath.Join(path, "journal"))
	require.ErrorIs(t, err, fs.ErrNotExist)
	s = openPolicy(t, path, shm.EveryCommit())
	set(t, s, "b", "2")
	require.Equal(t, "1", get(t, s, "a"))
}
