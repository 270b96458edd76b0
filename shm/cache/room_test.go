package cache

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/shm"
)

// few is n, or fewer in a short run.
func few(n int) int {
	if testing.Short() {
		return n / 6
	}
	return n
}

// A cache at its bound takes new items for ever, and gives up others.
func TestBound(t *testing.T) {
	c := open(t, &Options{Bytes: MinBytes})
	n := few(40_000)
	for i := range n {
		key := fmt.Append(nil, "key ", i)
		require.NoError(t, c.Set(key, make([]byte, i%700), -1))
		if i%100 == 0 {
			_, err := c.Get(key)
			require.NoError(t, err, "an item is gone that was written just now")
		}
	}
	st := c.Stats()
	require.LessOrEqual(t, st.FileBytes, st.Bound)
	require.Less(t, st.Bound, int64(MinBytes))
	require.Positive(t, st.Evictions)
	require.EqualValues(t, n, uint64(st.Items)+st.Evictions)
	require.Greater(t, st.DataBytes, st.Bound/2)
	_, err := c.Store().Check(t.Context(), nil)
	require.NoError(t, err)
}

// What is read again and again stays, and what was read once goes.
func TestEvictionSparesWhatIsRead(t *testing.T) {
	c := open(t, &Options{Bytes: MinBytes})
	value := make([]byte, 200)
	const hot = 300
	for i := range few(60_000) {
		if i < hot {
			require.NoError(t, c.Set(fmt.Append(nil, "hot ", i), value, -1))
		}
		_, _ = c.Get(fmt.Append(nil, "hot ", i%hot))
		require.NoError(t, c.Set(fmt.Append(nil, "cold ", i), value, -1))
	}
	left := 0
	for i := range hot {
		if _, err := c.Get(fmt.Append(nil, "hot ", i)); err == nil {
			left++
		}
	}
	require.Greater(t, left, hot*9/10)
}

// A sample that is larger than the cache has each item once.
func TestEvictionCountsEachItemOnce(t *testing.T) {
	c := open(t, nil)
	for n := uint64(1); n < 60; n++ {
		for i := range n {
			require.NoError(t, c.Set(fmt.Append(nil, i), []byte("value"), -1))
		}
		freed, err := c.Evict(t.Context(), 1<<30)
		require.NoError(t, err)
		require.Equal(t, n, freed.Evictions)
		require.Zero(t, c.Stats().Items)
	}
}

// Sizes that change strand no memory: after small items, large ones find room, and the other
// way round.
func TestBoundWithChangingSizes(t *testing.T) {
	c := open(t, &Options{Bytes: 8 << 20})
	for round, size := range []int{100, 3000, 400_000, 50, 100_000, 800_000, 700} {
		for i := range max(few(12<<20/size), 40) {
			require.NoError(t, c.Set(fmt.Append(nil, round, " ", i), make([]byte, size), -1), "round %d, item %d of %d bytes", round, i, size)
		}
		st := c.Stats()
		require.LessOrEqual(t, st.FileBytes, st.Bound)
		t.Logf("items of %d bytes: %d bytes of data in %d, target %d", size, st.DataBytes, st.Bound, st.Target)
	}
	_, err := c.Store().Check(t.Context(), nil)
	require.NoError(t, err)
}

// A set that no room can be made for is refused, and says why.
func TestFullSaysWhy(t *testing.T) {
	s, err := shm.Open(testdir.Memory(t)+"/store", &shm.Options{MaxSize: 2 << 20})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	c, err := New(s, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	require.NoError(t, c.Set([]byte("key"), make([]byte, 1000), -1))
	for i := 0; err == nil; i++ {
		err = s.Set(fmt.Append(nil, i), make([]byte, 500))
	}
	require.ErrorIs(t, err, shm.ErrFull)
	err = c.Set([]byte("large"), make([]byte, 200_000), -1)
	require.ErrorIs(t, err, shm.ErrFull)
	require.ErrorContains(t, err, "other maps have ")
	require.ErrorContains(t, err, `setting "large" in region "cache"`)
}

// Whatever is in the sketch, the calls do what they say.
func TestNoiseInTheSketch(t *testing.T) {
	c := open(t, &Options{Bytes: MinBytes})
	f, err := os.OpenFile(c.Store().Path()+"/"+sketchFile, os.O_RDWR, 0)
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	require.NoError(t, err)
	require.Equal(t, sketchBytes(MinBytes), st.Size())
	var all sync.WaitGroup
	quit := make(chan struct{})
	all.Go(func() {
		noise := make([]byte, st.Size())
		for {
			select {
			case <-quit:
				return
			default:
			}
			_, _ = rand.Read(noise)
			_, err := f.WriteAt(noise, 0)
			if err != nil {
				panic(err)
			}
			time.Sleep(time.Millisecond)
		}
	})
	for i := range few(20_000) {
		key := fmt.Append(nil, "key ", i)
		require.NoError(t, c.Set(key, key, time.Hour))
		it, err := c.Get(key)
		require.NoError(t, err)
		require.Equal(t, key, it.Value)
		_, err = c.Get(fmt.Append(nil, "key ", i-3000))
		require.True(t, err == nil || errors.Is(err, shm.ErrNotFound))
	}
	s := c.Stats()
	require.LessOrEqual(t, s.FileBytes, s.Bound)
	require.Greater(t, s.Items, int64(1000))
	close(quit)
	all.Wait()
	_, err = c.Store().Check(t.Context(), nil)
	require.NoError(t, err)
}

// A sketch of another size is replaced, and without one a cache evicts at random.
func TestSketchFile(t *testing.T) {
	path := testdir.Memory(t) + "/store"
	c, err := Open(path, &Options{Bytes: MinBytes})
	require.NoError(t, err)
	require.NoError(t, c.Set([]byte("key"), []byte("value"), -1))
	require.NoError(t, c.Close())
	for _, size := range []int{0, sketchHeader, sketchHeader + minCounts - lineSize, sketchHeader + minCounts + 2} {
		require.NoError(t, os.WriteFile(path+"/"+sketchFile, make([]byte, size), 0o600))
		c, err := Open(path, &Options{Bytes: MinBytes})
		require.NoError(t, err)
		require.True(t, c.sketch.mem.Valid())
		require.EqualValues(t, sketchBytes(MinBytes), c.sketch.mem.Size())
		require.NoError(t, c.Close())
	}
	require.NoError(t, os.Remove(path+"/"+sketchFile))
	require.NoError(t, os.Mkdir(path+"/"+sketchFile, 0o700))
	require.NoError(t, os.WriteFile(path+"/"+sketchFile+"/file", nil, 0o600))
	c, err = Open(path, &Options{Bytes: MinBytes})
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	require.False(t, c.sketch.mem.Valid())
	for i := range 12_000 {
		require.NoError(t, c.Set(fmt.Append(nil, i), make([]byte, 100), -1))
		_, _ = c.Get(fmt.Append(nil, i))
	}
	require.Positive(t, c.Stats().Evictions)
	require.Equal(t, Counts{Hits: 12_000, Evictions: c.Stats().Evictions}, c.Stats().All)
}
