package memcache

import (
	"bufio"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/cache"
)

// A watcher is told of each item that the server evicts, once, and of no others. Without
// watchers the cache tells nothing.
func TestWatchEvictions(t *testing.T) {
	store, clock := testdir.Memory(t)+"/store", new(Clock)
	clock.Pause()
	handle := func() *cache.Cache {
		c, err := cache.Open(store, &cache.Options{Bytes: cache.MinBytes, Now: clock.Now})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, c.Close()) })
		return c
	}
	c, other := handle(), handle()
	s, path := serve(t, Options{Cache: c, Clock: clock})
	listens := func() bool {
		s.watchers.mu.Lock()
		defer s.watchers.mu.Unlock()
		return s.watchers.stop != nil
	}
	first, second, nc := dial(t, path), dial(t, path), dial(t, path)
	require.Equal(t, []string{"OK"}, ask(t, dial(t, path), "watch fetchers mutations"))
	require.False(t, listens())
	require.Equal(t, []string{"OK"}, ask(t, first, "watch evictions"))
	require.Equal(t, []string{"OK"}, ask(t, second, "watch mutations evictions"))
	require.True(t, listens())
	second.Close()
	require.Eventually(t, func() bool { return s.watchers.count() == 2 }, 10*time.Second, time.Millisecond)

	// Odd items expire, and even ones are read.
	const n = 1500
	size := func(i int) int { return 1700 + i%2 }
	for i := range n {
		ask(t, nc, fmt.Sprintf("set k#%d 0 %d %d\r\n%0*d", i, i%2*100, size(i), size(i), 0))
		if i%2 == 0 {
			_, err := io.WriteString(nc, fmt.Sprintf("get k#%d\r\n", i))
			require.NoError(t, err)
			_, err = io.CopyN(io.Discard, nc, int64(len(fmt.Sprintf("VALUE k#%d 0 %d\r\n\r\nEND\r\n", i, size(i)))+size(i)))
			require.NoError(t, err)
		}
	}
	evictions := int(c.Stats().Evictions)
	require.Greater(t, evictions, n/4)
	format := regexp.MustCompile(`^ts=\d+\.\d+ gid=\d+ type=eviction key=k%23(\d+) fetch=(yes|no) ttl=(-?\d+) la=\d+ clsid=1 size=(\d+)$`)
	lines, gone, read := bufio.NewScanner(first), map[int]bool{}, 0
	next := func() (i int) {
		require.True(t, lines.Scan(), "%v", lines.Err())
		m := format.FindStringSubmatch(lines.Text())
		require.NotNil(t, m, lines.Text())
		i, err := strconv.Atoi(m[1])
		require.NoError(t, err)
		require.False(t, gone[i], "%d is told twice", i)
		gone[i] = true
		require.Equal(t, strconv.Itoa(size(i)), m[4])
		require.Equal(t, []string{"-1", "100"}[i%2], m[3])
		if m[2] == "yes" {
			read++
			require.Zero(t, i%2)
		}
		return i
	}
	for range evictions {
		key := fmt.Appendf(nil, "k#%d", next())
		_, err := c.Get(key)
		require.ErrorIs(t, err, shm.ErrNotFound)
	}
	require.Positive(t, read)

	// Another handle tells nothing, nor does an item that has expired.
	freed, err := other.Evict(t.Context(), 100_000)
	require.NoError(t, err)
	require.Positive(t, freed.Evictions)
	clock.Advance(time.Hour)
	freed, err = c.Evict(t.Context(), 300_000)
	require.NoError(t, err)
	require.Positive(t, freed.Expirations)
	require.Positive(t, freed.Evictions)
	for range freed.Evictions {
		require.Zero(t, next()%2)
	}
	first.Close()
	require.Eventually(t, func() bool { return !listens() }, 10*time.Second, time.Millisecond)
}
