package cache

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/shm"
)

// Inspect tells what the handles have done, and leaves no trace.
func TestInspect(t *testing.T) {
	s, err := shm.Open(testdir.Memory(t)+"/store", nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	i, err := Inspect(s, "cache")
	require.NoError(t, err)
	require.Equal(t, Info{}, i)
	require.NoFileExists(t, filepath.Join(s.Path(), sketchFile))

	c, err := New(s, &Options{Bytes: MinBytes})
	require.NoError(t, err)
	require.NoError(t, c.Set([]byte("key"), []byte("value"), 0))
	_, err = c.Get([]byte("key"))
	require.NoError(t, err)
	_, err = c.Get([]byte("other"))
	require.ErrorIs(t, err, shm.ErrNotFound)
	_, err = c.GetOrCreate(t.Context(), []byte("new"), gives("made"))
	require.NoError(t, err)
	at := time.Now().Add(time.Hour)
	require.NoError(t, c.Flush(at))
	require.NoError(t, c.Invalidate(true))
	version, st := s.Version(), c.Stats()
	i, err = Inspect(s, "cache")
	require.NoError(t, err)
	require.WithinDuration(t, at, i.FlushAt, 0)
	i.FlushAt = time.Time{}
	require.Equal(t, Info{Items: 2, DataBytes: st.DataBytes, Invalidations: 1, All: st.All, Counted: true}, i)
	require.Equal(t, Counts{Hits: 1, Misses: 2, Creations: 1}, i.All)

	// A creation under way has a claim.
	_, err = c.GetOrCreate(t.Context(), []byte("third"), func(context.Context) ([]byte, error) {
		i, err := Inspect(s, "cache")
		require.EqualValues(t, 1, i.Claims)
		return nil, err
	})
	require.NoError(t, err)
	require.NoError(t, c.Close())
	require.Less(t, version, s.Version())

	// The counts are hints. What they are read from may be anything.
	hints := filepath.Join(s.Path(), sketchFile)
	for _, n := range []int64{0, 64, sketchHeader, sketchHeader + minCounts + 1} {
		require.NoError(t, os.Truncate(hints, n))
		i, err = Inspect(s, "cache")
		require.NoError(t, err)
		require.False(t, i.Counted)
		require.Zero(t, i.All)
	}
	require.NoError(t, s.Ordered("ordered").Set(nil, nil))
	_, err = Inspect(s, "ordered")
	require.ErrorIs(t, err, shm.ErrKind)
	require.NoError(t, s.Map(RegionsMap).Set([]byte("cache"), []byte("short")))
	_, err = Inspect(s, "cache")
	require.ErrorIs(t, err, shm.ErrCorrupt)
}

// Creations, waits and takeovers are counted for each handle, and in sum.
func TestCountsOfCreations(t *testing.T) {
	all, clock := creators(t, 2)
	key := []byte("key")
	began, end := make(chan struct{}), make(chan struct{})
	first := make(chan error, 1)
	go func() {
		_, err := all[0].GetOrCreate(context.Background(), key, func(context.Context) ([]byte, error) {
			close(began)
			<-end
			return []byte("late"), nil
		}, WithLease(time.Hour))
		first <- err
	}()
	<-began
	// Nobody renews the lease, for a time that is longer by far than that of the test.
	ctx, cancel := context.WithCancel(t.Context())
	second := make(chan error, 1)
	go func() {
		_, err := all[1].GetOrCreate(ctx, key, gives("not made"))
		second <- err
	}()
	require.Eventually(t, func() bool { return all[1].Stats().Waits == 1 }, 20*time.Second, time.Millisecond)
	cancel()
	require.ErrorIs(t, <-second, context.Canceled)
	require.Equal(t, Counts{Misses: 1, Waits: 1}, all[1].Stats().Counts)

	clock.advance(2 * time.Hour)
	got(t, all[1], "key", "made", gives("made"))
	require.Equal(t, Counts{Misses: 2, Creations: 1, Waits: 1, Takeovers: 1}, all[1].Stats().Counts)
	close(end)
	require.NoError(t, <-first)
	require.Equal(t, Counts{Misses: 1, Creations: 1}, all[0].Stats().Counts)
	require.Equal(t, Counts{Misses: 3, Creations: 2, Waits: 1, Takeovers: 1}, all[1].Stats().All)

	sub := Counts{7, 6, 5, 4, 3, 2, 1}
	require.Equal(t, Counts{6, 5, 4, 3, 2, 1, 0}, sub.Sub(Counts{1, 1, 1, 1, 1, 1, 1}))
	require.Equal(t, sub, countsOf(sub.words()))
}

// Entries of a region tell what they are, and others do not.
func TestParseItem(t *testing.T) {
	c := open(t, nil)
	want := Item{Value: []byte("value"), Flags: 7, Marks: 9, Expires: time.Now().Add(time.Hour).Round(0), StaleAfter: time.Unix(0, 1)}
	var err error
	want.Token, err = c.SetItem([]byte("key"), want, Always)
	require.NoError(t, err)
	b, err := c.items.Get([]byte("key"))
	require.NoError(t, err)
	it, err := ParseItem(b)
	require.NoError(t, err)
	require.True(t, want.Expires.Equal(it.Expires))
	it.Expires = want.Expires
	require.Equal(t, want, it)
	for _, b := range [][]byte{nil, []byte("short"), make([]byte, Overhead), make([]byte, 100)} {
		_, err = ParseItem(b)
		require.ErrorIs(t, err, shm.ErrCorrupt)
	}
}

// Evict frees what it is told to, and not all. Expired items go first.
func TestEvict(t *testing.T) {
	clock := newClock()
	c := open(t, &Options{Now: clock.now})
	c.stopSweep()
	c.sweep.quit, c.sweep.done = make(chan struct{}), closedChannel() // for Close
	f, err := c.Evict(t.Context(), 1000)
	require.NoError(t, err)
	require.Zero(t, f)
	const n = 1000
	for i := range n {
		require.NoError(t, c.Set(fmt.Append(nil, "key ", i), make([]byte, 100), -1))
	}
	f, err = c.Evict(t.Context(), 50_000)
	require.NoError(t, err)
	require.GreaterOrEqual(t, f.Bytes, int64(50_000))
	require.Less(t, f.Bytes, int64(60_000))
	require.Zero(t, f.Expirations)
	require.EqualValues(t, n-f.Evictions, c.items.Len())
	require.Equal(t, f.Evictions, c.Stats().Evictions)

	require.NoError(t, c.Set([]byte("short"), nil, time.Minute))
	clock.advance(time.Minute)
	f, err = c.Evict(t.Context(), 1<<40)
	require.NoError(t, err)
	require.EqualValues(t, 1, f.Expirations)
	require.Zero(t, c.items.Len())

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = c.Evict(ctx, 1)
	require.ErrorIs(t, err, context.Canceled)
	_, err = c.DeleteExpired(ctx)
	require.ErrorIs(t, err, context.Canceled)
}

// DeleteExpired leaves nothing that has expired, wherever the sweep stands.
func TestDeleteExpired(t *testing.T) {
	clock := newClock()
	c := open(t, &Options{Now: clock.now})
	c.stopSweep()
	c.sweep.quit, c.sweep.done = make(chan struct{}), closedChannel() // for Close
	deleted, err := c.DeleteExpired(t.Context())
	require.NoError(t, err)
	require.Zero(t, deleted)
	const n = 1000
	fillExpiring(t, c, n)
	_, err = c.sweepStep(n)
	require.NoError(t, err)
	clock.advance(2 * time.Minute)
	deleted, err = c.DeleteExpired(t.Context())
	require.NoError(t, err)
	require.Equal(t, n, deleted)
	require.Equal(t, n, c.items.Len())
	require.EqualValues(t, n, c.Stats().Expirations)
	require.NoError(t, c.store.Close())
	_, err = c.DeleteExpired(t.Context())
	require.True(t, errors.Is(err, shm.ErrClosed), "%v", err)
	_, err = c.Evict(t.Context(), 1)
	require.True(t, errors.Is(err, shm.ErrClosed), "%v", err)
}

// A handle that only reads makes no file, but uses one that is there.
func TestReaderMakesNoSketch(t *testing.T) {
	path := testdir.Memory(t) + "/store"
	s, err := shm.Open(path, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	reader, err := shm.Open(path, &shm.Options{ReadOnly: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, reader.Close()) }()
	read := func(want Counts) {
		t.Helper()
		c, err := New(reader, nil)
		require.NoError(t, err)
		_, err = c.Get([]byte("key"))
		require.ErrorIs(t, err, shm.ErrNotFound)
		require.NoError(t, c.Close())
		require.Equal(t, want, c.Stats().All)
	}
	read(Counts{Misses: 1})
	require.NoFileExists(t, filepath.Join(path, sketchFile))
	c, err := New(s, nil)
	require.NoError(t, err)
	_, err = c.Get([]byte("key"))
	require.ErrorIs(t, err, shm.ErrNotFound)
	require.NoError(t, c.Close())
	read(Counts{Misses: 2})
	require.NoError(t, os.Truncate(filepath.Join(path, sketchFile), 100))
	read(Counts{Misses: 1})
	require.NoError(t, os.Remove(filepath.Join(path, sketchFile)))
	read(Counts{Misses: 1})
}
