package cache

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/shm"
)

// fillExpiring sets n items that expire in a minute and as many that do not.
func fillExpiring(t testing.TB, c *Cache, n int) {
	for i := range n {
		require.NoError(t, c.Set(fmt.Append(nil, "short ", i), make([]byte, 50), time.Minute))
		require.NoError(t, c.Set(fmt.Append(nil, "long ", i), make([]byte, 50), time.Hour))
	}
}

// Writers delete expired items on the way, a few with each write.
func TestWritersSweep(t *testing.T) {
	clock := newClock()
	c := open(t, &Options{Now: clock.now})
	c.stopSweep()
	c.sweep.quit, c.sweep.done = make(chan struct{}), closedChannel() // for Close
	n := few(2000)
	fillExpiring(t, c, n)
	require.EqualValues(t, 2*n, c.Stats().Items)
	clock.advance(2 * time.Minute)
	writes := 0
	for ; c.Stats().Expirations < uint64(n); writes++ {
		require.NoError(t, c.Set([]byte("key"), nil, -1))
		require.Less(t, writes, 20*n)
	}
	require.Equal(t, n+1, c.items.Len())
	require.Greater(t, writes, n/10, "a write did a lot of it")
	_, err := c.Get([]byte("long 7"))
	require.NoError(t, err)
}

func closedChannel() chan struct{} {
	ch := make(chan struct{})
	close(ch)
	return ch
}

// One handle deletes expired items in the background when nobody writes, and when it is closed
// another one does.
func TestBackgroundSweep(t *testing.T) {
	clock := newClock()
	path := testdir.Memory(t) + "/store"
	var handles [2]*Cache
	for i := range handles {
		var err error
		handles[i], err = Open(path, &Options{Now: clock.now})
		require.NoError(t, err)
		defer func() { require.NoError(t, handles[i].Close()) }()
	}
	const n = 1000
	swept := func(c *Cache, left int) {
		t.Helper()
		for end := time.Now().Add(time.Minute); c.items.Len() > left; time.Sleep(time.Millisecond) {
			require.True(t, time.Now().Before(end), "%d items are left", c.items.Len())
		}
	}
	fillExpiring(t, handles[0], n)
	clock.advance(2 * time.Minute)
	swept(handles[1], n)
	sum := handles[0].Stats().Expirations + handles[1].Stats().Expirations
	require.EqualValues(t, n, sum)
	require.NoError(t, handles[0].Close())
	clock.advance(2 * time.Hour)
	swept(handles[1], 0)
}

// A sweep goes through the whole map, whatever is deleted or set in between.
func TestSweepGoesOn(t *testing.T) {
	clock := newClock()
	s, err := shm.Open(testdir.Memory(t)+"/store", nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	c, err := New(s, &Options{Now: clock.now})
	require.NoError(t, err)
	require.NoError(t, c.Close()) // ends the work in the background
	for _, n := range []int{0, 1, 2, 3, 50, 1000} {
		for i := range n {
			require.NoError(t, c.Set(fmt.Append(nil, i), nil, time.Minute))
		}
		clock.advance(2 * time.Minute)
		c.sweep.cursor = 0
		for steps, end := 0, false; !end; steps++ {
			var err error
			end, err = c.sweepStep(7)
			require.NoError(t, err)
			if steps%3 == 0 {
				require.NoError(t, c.Set(fmt.Append(nil, "more ", n, steps), nil, -1))
			}
			require.Less(t, steps, 1000)
		}
		for key := range keysOf(t, c) {
			require.Contains(t, key, "more ")
		}
	}
}

// keysOf returns the keys of a cache's map.
func keysOf(t testing.TB, c *Cache) map[string]bool {
	keys := map[string]bool{}
	require.NoError(t, c.Store().View(func(sn *shm.Snapshot) error {
		for key := range sn.Map(c.Region()).All() {
			keys[string(key)] = true
		}
		return sn.Err()
	}))
	return keys
}
