package shm_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/shm"
)

// Sync takes a checkpoint of what is new, once.
func TestSync(t *testing.T) {
	path := filepath.Join(testdir.Disk(t), "store")
	s := openPolicy(t, path, shm.OnSync())
	first := s.Stats().Checkpoints
	require.Equal(t, shm.Checkpoints{Version: 1, Durable: 1, At: first.At}, first, "an empty store is on the disk")
	require.WithinDuration(t, time.Now(), first.At, time.Minute)
	set(t, s, "a", "1")
	require.NoError(t, s.Sync())
	require.NoError(t, s.Sync())
	c := s.Stats().Checkpoints
	require.Equal(t, uint64(1), c.Count)
	require.Equal(t, uint64(2), c.Version)
	require.Positive(t, c.Took)
	require.Nil(t, s.Recovery())
}

// What only the last checkpoint needs is held, and told.
func TestCheckpointHolds(t *testing.T) {
	s := openPolicy(t, filepath.Join(testdir.Disk(t), "store"), shm.OnSync())
	for i := range 200 {
		set(t, s, fmt.Sprint(i), "one")
	}
	require.NoError(t, s.Sync())
	version := s.Version()
	for range 2 {
		for i := range 200 {
			set(t, s, fmt.Sprint(i), fmt.Sprint(i, time.Now()))
		}
	}
	rep := sound(t, s)
	require.Len(t, rep.Held, 1)
	require.Equal(t, version, rep.Held[0].Version)
	require.NoError(t, s.Sync())
	_, err := s.Compact(background, nil)
	require.NoError(t, err)
	require.Less(t, sound(t, s).HeldBytes, int64(1000))
}

// Each handle follows its policy.
func TestCheckpointPolicies(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		policy shm.CheckpointPolicy
		writes int
	}{
		"interval": {shm.Every(20 * time.Millisecond), 1},
		"bytes":    {shm.EveryBytes(20_000), 100},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openPolicy(t, filepath.Join(testdir.Disk(t), "store"), c.policy)
			for i := range c.writes {
				set(t, s, fmt.Sprint(i), string(make([]byte, 200)))
			}
			require.Eventually(t, func() bool { return s.Stats().Checkpoints.Count > 0 }, time.Minute, time.Millisecond)
		})
	}
	t.Run("commit", func(t *testing.T) {
		t.Parallel()
		s := openPolicy(t, filepath.Join(testdir.Disk(t), "store"), shm.EveryCommit())
		durable := func() {
			t.Helper()
			require.Equal(t, s.Version(), s.Stats().Checkpoints.Durable)
		}
		set(t, s, "a", "1")
		durable()
		require.NoError(t, s.Update(func(tx *shm.Tx) error { return tx.Ordered("o").Set([]byte("b"), nil) }))
		durable()
		_, err := s.DropMap("o")
		require.NoError(t, err)
		durable()
		_, err = s.Delete([]byte("a"))
		require.NoError(t, err)
		durable()
		require.Less(t, s.Stats().Checkpoints.Count, uint64(4), "the others are in the journal")
	})
}

func TestWrongPolicies(t *testing.T) {
	for want, policy := range map[string]shm.CheckpointPolicy{
		"Every(0) or less":      shm.Every(0),
		"EveryBytes(0) or less": shm.EveryBytes(-1),
	} {
		_, err := shm.Open(filepath.Join(t.TempDir(), "store"), &shm.Options{Checkpoint: policy})
		require.ErrorContains(t, err, want)
	}
}

// A store on a disk whose checkpoint holds all space makes room by the next one.
func TestCheckpointBeforeFull(t *testing.T) {
	dir := testdir.Disk(t)
	s, err := shm.Open(filepath.Join(dir, "store"), &shm.Options{Checkpoint: shm.OnSync(), MaxSize: 1 << 20})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	for i := range 60 {
		require.NoError(t, s.Set(fmt.Append(nil, i), make([]byte, 10_000)))
	}
	require.NoError(t, s.Sync())
	for round := range 5 {
		for i := range 60 {
			value := make([]byte, 10_000)
			value[0] = byte(round + 1)
			require.NoError(t, s.Set(fmt.Append(nil, i), value))
		}
	}
	require.Greater(t, s.Stats().Checkpoints.Count, uint64(1))
	sound(t, s)
}

// On a file system in memory nothing is flushed, and nothing is held.
func TestNoCheckpointsInMemory(t *testing.T) {
	path := filepath.Join(testdir.Tmpfs(t, "size=16m"), "store")
	s := openPolicy(t, path, shm.EveryCommit())
	set(t, s, "a", "1")
	require.NoError(t, s.Sync())
	require.Zero(t, s.Stats().Checkpoints)
}

// A store that was copied from memory to a disk while it was open is a store there.
func TestStoreMovesToADisk(t *testing.T) {
	from := filepath.Join(testdir.Tmpfs(t, "size=16m"), "store")
	s := openPolicy(t, from, nil)
	set(t, s, "a", "1")
	to := filepath.Join(testdir.Disk(t), "store")
	copyStore(t, from, to)
	c := openPolicy(t, to, nil)
	require.NotZero(t, c.Stats().Checkpoints.Version)
	set(t, c, "b", "2")
	require.NoError(t, c.Close())

	back := filepath.Join(testdir.Tmpfs(t, "size=16m"), "store")
	copyStore(t, to, back)
	b := openPolicy(t, back, nil)
	require.Zero(t, b.Stats().Checkpoints)
	require.Equal(t, "2", get(t, b, "b"))
}

func copyStore(t *testing.T, from, to string) {
	t.Helper()
	out, err := exec.Command("cp", "-a", "--sparse=always", from, to).CombinedOutput()
	require.NoError(t, err, string(out))
}

// A read-only handle neither recovers nor syncs.
func TestSyncReadOnly(t *testing.T) {
	path := filepath.Join(testdir.Disk(t), "store")
	openPolicy(t, path, nil)
	s, err := shm.Open(path, &shm.Options{ReadOnly: true})
	require.NoError(t, err)
	require.ErrorIs(t, s.Sync(), shm.ErrReadOnly)
	require.NoError(t, s.Close())
	require.ErrorIs(t, s.Sync(), shm.ErrClosed)
}

// openPolicy opens a store with a policy until the test ends.
func openPolicy(t *testing.T, path string, policy shm.CheckpointPolicy) *shm.Store {
	t.Helper()
	s, err := shm.Open(path, &shm.Options{Checkpoint: policy, MaxSize: 64 << 20})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}
