package cache

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/shm"
)

// larger returns a cache in a store of 64 MiB.
func larger(t *testing.T, opts *Options) *Cache {
	s, err := shm.Open(testdir.Memory(t)+"/store", &shm.Options{MaxSize: 64 << 20})
	require.NoError(t, err)
	c, err := New(s, opts)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, c.Close())
		require.NoError(t, s.Close())
	})
	return c
}

// fill sets n items of 1000 bytes.
func fill(t *testing.T, c *Cache, n int) {
	t.Helper()
	for i := range n {
		require.NoError(t, c.Set(fmt.Append(nil, "key ", i), make([]byte, 1000), -1))
	}
}

// A bound that is raised lets the cache hold more, and one that is lowered evicts.
func TestSetBytes(t *testing.T) {
	c := larger(t, &Options{Bytes: 4 << 20})
	before := c.Stats()
	require.NoError(t, c.SetBytes(4<<20))
	require.Equal(t, before.Bound, c.Stats().Bound)
	fill(t, c, 8000)
	small := c.Stats()
	require.Positive(t, small.Evictions)

	require.NoError(t, c.SetBytes(16<<20))
	fill(t, c, 8000)
	large := c.Stats()
	require.Equal(t, small.Evictions, large.Evictions)
	require.EqualValues(t, 8000, large.Items)
	require.Greater(t, large.FileBytes, small.Bound)
	require.LessOrEqual(t, large.FileBytes, large.Bound)

	require.NoError(t, c.SetBytes(8<<20))
	st := c.Stats()
	require.Equal(t, small.Bound+4<<20, st.Bound)
	require.LessOrEqual(t, st.LiveBytes, st.Target)
	require.Greater(t, st.LiveBytes, st.Target/2)
	fill(t, c, 8000)
	st = c.Stats()
	require.LessOrEqual(t, st.LiveBytes, st.Target+2000)
	require.Equal(t, large.FileBytes, st.FileBytes)

	require.NoError(t, c.SetBytes(1<<40))
	require.EqualValues(t, 64<<20, c.Stats().Bound)
	require.ErrorContains(t, c.SetBytes(MinBytes-1), "found 2097151 bytes, expected at least 2097152")
	require.NoError(t, c.Store().Close())
	require.ErrorIs(t, c.SetBytes(MinBytes), shm.ErrClosed)
}

// The least bound beside a large sketch leaves room for items.
func TestSetBytesBesideALargeSketch(t *testing.T) {
	c := larger(t, &Options{Bytes: 64 << 20})
	require.NoError(t, c.SetBytes(MinBytes))
	fill(t, c, 3000)
	st := c.Stats()
	require.LessOrEqual(t, st.FileBytes, st.Bound)
	require.Greater(t, st.Items, int64(500))
}

// The bound may change while others write.
func TestSetBytesBesideWriters(t *testing.T) {
	c := larger(t, &Options{Bytes: 4 << 20})
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for w := range 3 {
		all.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				if err := c.Set(fmt.Append(nil, w, i), make([]byte, i%3000), -1); err != nil {
					panic(err)
				}
			}
		})
	}
	for i := range few(60) {
		require.NoError(t, c.SetBytes(int64(3+i%5)<<20))
	}
	cancel()
	all.Wait()
	_, err := c.Store().Check(t.Context(), nil)
	require.NoError(t, err)
}

// With NoEvict a write at the bound fails and says why, and nothing is lost. What makes no
// item longer goes on, and a flush makes room.
func TestNoEvict(t *testing.T) {
	clock := newClock()
	c := open(t, &Options{Bytes: MinBytes, NoEvict: true, Now: clock.now})
	key := func(i int) []byte { return fmt.Append(nil, "key ", i) }
	n := 0
	var err error
	for ; err == nil; n++ {
		ttl := time.Duration(-1)
		if n%2 == 0 {
			ttl = time.Minute
		}
		err = c.Set(key(n), make([]byte, 500), ttl)
	}
	n--
	require.ErrorIs(t, err, shm.ErrFull)
	require.ErrorContains(t, err, "Options.NoEvict forbids to evict items")
	require.ErrorContains(t, err, `setting "key `)
	st := c.Stats()
	require.Zero(t, st.Evictions)
	require.EqualValues(t, n, st.Items)
	require.Greater(t, st.DataBytes, st.Bound/2)

	require.ErrorIs(t, c.Add([]byte("new"), make([]byte, 5000), -1), shm.ErrFull)
	_, err = c.AppendValue(key(1), make([]byte, 5000))
	require.ErrorIs(t, err, shm.ErrFull)
	_, err = c.Compute([]byte("new"), becomes(Item{Value: make([]byte, 5000)}, shm.ActionSet))
	require.ErrorIs(t, err, shm.ErrFull)
	_, err = c.GetOrCreate(t.Context(), []byte("new"), func(context.Context) ([]byte, error) { return make([]byte, 5000), nil })
	require.ErrorIs(t, err, shm.ErrFull)
	require.EqualValues(t, n, c.Stats().Items)

	require.NoError(t, c.Touch(key(1), time.Hour))
	require.NoError(t, c.Set(key(1), make([]byte, 400), -1))
	existed, err := c.Delete(key(3))
	require.NoError(t, err)
	require.True(t, existed)

	// Expired items go, and what has not expired stays.
	clock.advance(2 * time.Minute)
	for i := range n / 50 {
		require.NoError(t, c.Set(fmt.Append(nil, "new ", i), make([]byte, 500), -1))
	}
	require.Zero(t, c.Stats().Evictions)
	require.Positive(t, c.Stats().Expirations)
	_, err = c.Get(key(5))
	require.NoError(t, err)
	require.NoError(t, c.Flush(time.Time{}))
	for i := range n / 2 {
		require.NoError(t, c.Set(key(i), make([]byte, 500), -1))
	}
}
