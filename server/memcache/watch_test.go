package memcache

import (
	"bufio"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
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

	// Another handle tells nothing, nor does an item that has expired.
	freed, err := other.Evict(t.Context(), 100_000)
	require.NoError(t, err)
	require.Positive(t, freed.Evictions)
	clock.Advance(time.Hour)
	freed = cache.Freed{}
	for freed.Evictions == 0 || freed.Expirations == 0 { // The samples decide what goes.
		more, err := c.Evict(t.Context(), 100_000)
		require.NoError(t, err)
		require.Positive(t, more.Bytes, "after %+v", freed)
		freed.Evictions += more.Evictions
		freed.Expirations += more.Expirations
	}
	for range freed.Evictions {
		require.Zero(t, next()%2)
	}
	require.Positive(t, read) // Of those above, the cache may have kept each that was read.
	first.Close()
	require.Eventually(t, func() bool { return !listens() }, 10*time.Second, time.Millisecond)
}

func TestWatch(t *testing.T) {
	s, path := serve(t, Options{})
	nc := dial(t, path)
	fetchers, mutations, conns := dial(t, path), dial(t, path), dial(t, path)
	lines := func(w io.Reader) *bufio.Scanner { return bufio.NewScanner(w) }
	f, m, k := lines(fetchers), lines(mutations), lines(conns)
	next := func(s *bufio.Scanner) string {
		require.True(t, s.Scan(), "%v", s.Err())
		return s.Text()
	}
	for w, words := range map[io.Writer]string{fetchers: "", mutations: " mutations evictions", conns: " connevents"} {
		_, err := io.WriteString(w, "watch"+words+"\r\n")
		require.NoError(t, err)
	}
	for _, s := range []*bufio.Scanner{f, m, k} {
		require.Equal(t, "OK", next(s))
	}
	require.Equal(t, "3", statsOf(t, nc, "")["log_watchers"])
	ask(t, nc, "set a#b 0 100 4\r\nabcd")
	ask(t, nc, "get a#b")
	ask(t, nc, "add a#b 0 0 4\r\nabcd")
	require.Regexp(t, `^ts=\d+\.\d+ gid=\d+ type=item_get key=a%23b status=not_found clsid=0 cfd=\d+ size=0$`, next(f))
	require.Regexp(t, `type=item_get key=a%23b status=found clsid=1 cfd=\d+ size=4$`, next(f))
	require.Regexp(t, `^ts=\d+\.\d+ gid=\d+ type=item_store key=a%23b status=stored cmd=set ttl=100 clsid=1 cfd=\d+ size=4$`, next(m))
	require.Regexp(t, `type=item_store key=a%23b status=not_stored cmd=add ttl=0 clsid=1 cfd=\d+ size=4$`, next(m))

	other := dial(t, path)
	_, err := io.WriteString(other, "GET / HTTP/1.1\r\n")
	require.NoError(t, err)
	require.Regexp(t, `type=conn_new rip=unix rport=0 transport=local cfd=\d+$`, next(k))
	require.Regexp(t, `type=conn_close rip=unix rport=0 transport=local reason=error cfd=\d+$`, next(k))
	other = dial(t, path)
	ask(t, other, "version")
	other.Close()
	next(k)
	require.Regexp(t, `type=conn_close .* reason=normal cfd=\d+$`, next(k))

	// One that does not read loses lines, and is told how many.
	key := strings.Repeat("k", maxKey)
	for range 20 {
		var b strings.Builder
		for range 500 {
			b.WriteString("get " + key + "\r\n")
		}
		_, err := io.WriteString(nc, b.String())
		require.NoError(t, err)
		_, err = io.CopyN(io.Discard, nc, 500*int64(len("END\r\n")))
		require.NoError(t, err)
	}
	skipped := s.count(logSkipped)
	require.NotZero(t, skipped)
	told := 0
	for told == 0 {
		if rest, ok := strings.CutPrefix(next(f), "skipped="); ok {
			told, err = strconv.Atoi(rest)
			require.NoError(t, err)
		}
		ask(t, nc, "get a")
	}
	require.LessOrEqual(t, uint64(told), s.count(logSkipped))

	fetchers.Close()
	mutations.Close()
	conns.Close()
	require.Eventually(t, func() bool { return s.watchers.count() == 0 }, 10*time.Second, time.Millisecond)
}
