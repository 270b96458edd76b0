package cache

import (
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/shm"
)

// A soft invalidation by one handle is seen by another that has read the region before.
func TestInvalidationIsSeen(t *testing.T) {
	all, _ := creators(t, 2)
	require.NoError(t, all[0].Set([]byte("key"), []byte("value"), 0))
	for _, stale := range []bool{false, true} {
		it, err := all[0].Get([]byte("key"))
		require.NoError(t, err)
		require.Equal(t, stale, it.Stale)
		require.NoError(t, all[1].Invalidate(true))
	}
}

// The time of a flush comes while another flush is written down for later. The first one is
// not forgotten.
func TestFlushComesBeforeAnotherIsWrittenDown(t *testing.T) {
	clock := newClock()
	var calls atomic.Int64 // of the clock, after which the time of the flush has come
	calls.Store(1 << 40)
	c := open(t, &Options{Now: func() time.Time {
		if calls.Add(-1) == 0 {
			clock.advance(time.Minute)
		}
		return clock.now()
	}})
	for n := int64(1); ; n++ {
		require.NoError(t, c.Set([]byte("key"), []byte("value"), 0))
		require.NoError(t, c.Flush(clock.now().Add(time.Second)))
		calls.Store(n)
		require.NoError(t, c.Flush(clock.now().Add(time.Hour)))
		if calls.Swap(1<<40) > 0 {
			require.Greater(t, n, int64(3), "a look at the clock is missing")
			return
		}
		require.Equal(t, "absent", held(t, c, "key"))
	}
}

// Two handles find that the time of a flush has come. What was written between the one's flush
// and the other's look stays.
func TestFlushIsDoneOnce(t *testing.T) {
	all, clock := creators(t, 2)
	require.NoError(t, all[0].Set([]byte("key"), []byte("old"), 0))
	require.NoError(t, all[0].Flush(clock.now().Add(time.Second)))
	seen, err := all[1].rules()
	require.NoError(t, err)
	clock.advance(time.Minute)
	require.Equal(t, "absent", held(t, all[0], "key"))
	require.NoError(t, all[0].Set([]byte("key"), []byte("new"), 0))
	require.NoError(t, all[1].flushDue(seen))
	require.Equal(t, "new", held(t, all[1], "key"))
}

// A cache in a store that could be larger keeps its bound, and no item may take much of it.
func TestBoundInALargerStore(t *testing.T) {
	path := testdir.Memory(t) + "/store"
	s, err := shm.Open(path, &shm.Options{MaxSize: 64 << 20})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	const bound = 4 << 20
	c, err := New(s, &Options{Bytes: bound})
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	for i := range 2000 {
		require.NoError(t, c.Set([]byte{byte(i), byte(i >> 8)}, make([]byte, 8000), 0))
	}
	sum := int64(0)
	for _, name := range []string{"data", "procs", "hints"} {
		st, err := os.Stat(filepath.Join(path, name))
		require.NoError(t, err)
		sum += st.Size()
	}
	require.LessOrEqual(t, sum, int64(bound))
	err = c.Set([]byte("key"), make([]byte, bound/largest), 0)
	require.ErrorIs(t, err, shm.ErrTooLarge)
	require.NotErrorIs(t, err, shm.ErrFull)
}
