package shm_test

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/shm"
)

// raced tells whether the race detector is on.
var raced = func() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}()

// fileStore opens a new store in files.
func fileStore(t testing.TB, opts *shm.Options) *shm.Store {
	t.Helper()
	s, err := shm.Open(testdir.Memory(t)+"/store", opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// heapStores attaches n handles to a new store on the Go heap.
func heapStores(t testing.TB, maxSize uint64, n int) []*shm.Store {
	t.Helper()
	h, err := alloc.NewHeap(maxSize)
	require.NoError(t, err)
	all := make([]*shm.Store, n)
	for i := range all {
		all[i], _, err = shm.AttachHeap(h, "heap")
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, all[i].Close()) })
	}
	return all
}

// stores runs a story on the heap, where the race detector sees it, and in
// files. Both handles are of one store.
func stores(t *testing.T, story func(t *testing.T, s, other *shm.Store)) {
	t.Run("heap", func(t *testing.T) {
		all := heapStores(t, 16<<20, 2)
		story(t, all[0], all[1])
		sound(t, all[1])
	})
	t.Run("files", func(t *testing.T) {
		s := fileStore(t, &shm.Options{MaxSize: 16 << 20})
		other, err := shm.Open(s.Path(), nil)
		require.NoError(t, err)
		defer func() { require.NoError(t, other.Close()) }()
		story(t, s, other)
		sound(t, other)
	})
}

// sound ends a story: the ledger adds up.
func sound(t testing.TB, s *shm.Store) *shm.Report {
	t.Helper()
	rep, err := s.Check(context.Background(), nil)
	for tries := 0; err == nil && !rep.Quiet && tries < 1000; tries++ { // a keeper is at work
		time.Sleep(time.Millisecond)
		rep, err = s.Check(context.Background(), nil)
	}
	require.NoError(t, err)
	require.Empty(t, rep.Problems)
	require.Zero(t, rep.LeakedBytes)
	require.Zero(t, rep.InFlightBytes)
	require.Equal(t, int64(s.Stats().Entries), rep.Entries)
	shm.CheckDigest(t, s)
	return rep
}

func set(t testing.TB, s *shm.Store, key, value string) {
	t.Helper()
	require.NoError(t, s.Set([]byte(key), []byte(value)))
}

func get(t testing.TB, s *shm.Store, key string) string {
	t.Helper()
	got, err := s.Get([]byte(key))
	require.NoError(t, err)
	return string(got)
}

func numbered(i int) []byte { return fmt.Appendf(nil, "key %d", i) }
