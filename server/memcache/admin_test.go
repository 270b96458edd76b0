package memcache

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/shm/cache"
)

func TestStats(t *testing.T) {
	_, path := serve(t, Options{Bytes: 64 << 20})
	nc := dial(t, path)
	first := statsOf(t, nc, "")
	for _, name := range strings.Fields(`curr_items total_items bytes cmd_get cmd_set get_hits evictions get_misses get_expired
		bytes_written delete_hits delete_misses incr_hits incr_misses decr_hits get_flushed decr_misses listen_disabled_num
		lrutail_reflocked time_in_listen_disabled_us store_too_large store_no_memory`) {
		require.Equal(t, "0", first[name], name)
	}
	require.Equal(t, "1", first["accepting_conns"])
	require.Equal(t, "1", first["curr_connections"])
	require.Equal(t, "67108864", first["limit_maxbytes"])
	require.Equal(t, strconv.Itoa(os.Getpid()), first["pid"])

	for _, request := range []string{
		"set a 0 0 1\r\n1", "get b", "set c 0 -1 1\r\n1", "get c", "delete a", "delete a", "incr n 1", "decr n 1",
		"set n 0 0 1\r\n5", "incr n 1", "decr n 1", "touch n 0", "touch m 0", "cas n 0 0 1 5\r\n1", "cas m 0 0 1 5\r\n1",
		"flush_all", "add x 0 0 1\r\n1", "add x 0 0 1\r\n1", "set big 0 0 2000000\r\n" + strings.Repeat("v", 2_000_000),
	} {
		ask(t, nc, request)
	}
	want := map[string]string{
		"cmd_get": "2", "get_misses": "2", "get_hits": "0", "get_expired": "1", "cmd_set": "7", "total_items": "4", "curr_items": "1",
		"delete_hits": "1", "delete_misses": "1", "incr_hits": "1", "incr_misses": "1", "decr_hits": "1", "decr_misses": "1",
		"touch_hits": "1", "touch_misses": "1", "cmd_touch": "2", "cas_badval": "1", "cas_misses": "1", "cas_hits": "0", "cmd_flush": "1",
		"store_too_large": "1",
	}
	got := statsOf(t, nc, "")
	maps.DeleteFunc(got, func(name, _ string) bool { return want[name] == "" })
	require.Equal(t, want, got)

	require.Equal(t, []string{"RESET"}, ask(t, nc, "stats reset"))
	got = statsOf(t, nc, "")
	for name := range want {
		if name != "curr_items" {
			require.Equal(t, "0", got[name], name)
		}
	}
}

// The names are those of memcached, but for what there is not.
func TestStatsHaveTheNamesOfMemcached(t *testing.T) {
	_, path := serve(t, Options{})
	socket, _ := memcached(t)
	for _, group := range []string{"", "settings"} {
		ours, theirs := statsOf(t, dial(t, path), group), statsOf(t, dial(t, socket), group)
		for _, name := range slices.Sorted(maps.Keys(theirs)) {
			if !slices.ContainsFunc(lacking, func(prefix string) bool { return strings.HasPrefix(name, prefix) }) {
				require.Contains(t, ours, name)
			}
		}
		for name := range ours {
			require.Contains(t, theirs, name)
		}
	}
}

// lacking are beginnings of names that only memcached has: of its LRU, of storage on disks, of
// TLS and of proxies.
var lacking = []string{"lru_maintainer", "evicted_active", "moves_", "direct_reclaims", "lru_bumps", "ext", "slab_automove_freeratio", "ssl_", "proxy_", "drop_privileges", "worker_logbuf_size_"}

func TestStatsSettings(t *testing.T) {
	_, path := serve(t, Options{ItemSize: 4096, MaxConns: 7, Settings: []Setting{{"tcpport", "11211"}, {"more", "yes"}}})
	nc := dial(t, path)
	s := statsOf(t, nc, "settings")
	for name, want := range map[string]string{"item_size_max": "4096", "maxconns": "7", "tcpport": "11211", "more": "yes", "cas_enabled": "yes", "evictions": "on", "lru_crawler": "yes", "verbosity": "0"} {
		require.Equal(t, want, s[name], name)
	}
	ask(t, nc, "lru_crawler disable")
	ask(t, nc, "verbosity 9")
	ask(t, nc, "lru tune 5 6 0.5 3")
	require.Equal(t, []string{"CLIENT_ERROR lru crawler disabled"}, ask(t, nc, "lru_crawler crawl all"))
	require.Equal(t, []string{"CLIENT_ERROR lru crawler disabled"}, ask(t, nc, "lru_crawler metadump all"))
	s = statsOf(t, nc, "settings")
	for name, want := range map[string]string{"lru_crawler": "no", "verbosity": "2", "hot_lru_pct": "5", "warm_lru_pct": "6", "hot_max_factor": "0.50", "warm_max_factor": "3.00"} {
		require.Equal(t, want, s[name], name)
	}
}

func TestMemoryLimit(t *testing.T) {
	s, path := serve(t, Options{})
	nc := dial(t, path)
	require.Equal(t, []string{"OK"}, ask(t, nc, "cache_memlimit 16"))
	require.Equal(t, "16777216", statsOf(t, nc, "")["limit_maxbytes"])
	require.Equal(t, "16777216", statsOf(t, nc, "settings")["maxbytes"])
	value := strings.Repeat("v", 100_000)
	for i := range 400 {
		require.Equal(t, []string{"STORED"}, ask(t, nc, fmt.Sprintf("set k%d 0 0 %d\r\n%s", i, len(value), value)))
	}
	require.Less(t, s.cache.Stats().FileBytes, int64(16<<20))
	require.NotEqual(t, "0", statsOf(t, nc, "")["evictions"])
}

func TestDumps(t *testing.T) {
	s, path := serve(t, Options{})
	nc := dial(t, path)
	const items = 3000
	for i := range items {
		_, err := s.cache.SetItem(fmt.Appendf(nil, "k/%d", i), cache.Item{Value: []byte("abc"), Expires: time.Now().Add(time.Hour)}, cache.Always)
		require.NoError(t, err)
	}
	ask(t, nc, "set gone 0 -1 1\r\n1")
	ask(t, nc, "get k/5")
	for _, what := range []string{"all", "hash", "1", "2,1"} {
		lines := ask(t, nc, "lru_crawler metadump "+what)
		require.Equal(t, "END", lines[len(lines)-1])
		lines = lines[:len(lines)-1]
		require.Len(t, lines, items)
		keys := map[string]bool{}
		expr := regexp.MustCompile(`^key=k%2F(\d+) exp=\d+ la=\d+ cas=\d+ fetch=(no|yes) cls=1 size=\d+$`)
		for _, line := range lines {
			m := expr.FindStringSubmatch(line)
			require.NotNil(t, m, line)
			keys[m[1]] = true
			require.Equal(t, m[1] == "5", m[2] == "yes", line)
		}
		require.Len(t, keys, items)
	}
	lines := ask(t, nc, "lru_crawler mgdump all")
	require.Equal(t, "EN", lines[len(lines)-1])
	require.Len(t, lines, items+1)
	require.Contains(t, lines, "mg k/7")

	lines = ask(t, nc, "stats cachedump 1 10")
	require.Len(t, lines, 11)
	require.Regexp(t, `^ITEM k/\d+ \[3 b; \d+ s\]$`, lines[0])
	require.Len(t, ask(t, nc, "stats cachedump 1 0"), items+1)
	require.Equal(t, []string{"END"}, ask(t, nc, "stats cachedump 2 0"))
	require.Equal(t, []string{"NOTSTARTED no items to crawl"}, ask(t, nc, "lru_crawler metadump 2"))

	_, err := io.WriteString(nc, "get none\r\nget none\r\nlru_crawler metadump all\r\n")
	require.NoError(t, err)
	want := "END\r\nEND\r\nERROR cannot pipeline other commands before metadump\r\n"
	got := make([]byte, len(want))
	_, err = io.ReadFull(nc, got)
	require.NoError(t, err)
	require.Equal(t, want, string(got))

	require.Equal(t, []string{"OK"}, ask(t, nc, "lru_crawler crawl all"))
	require.Equal(t, int64(items), s.cache.Stats().Items)
}

func TestAuth(t *testing.T) {
	file := t.TempDir() + "/users"
	require.NoError(t, os.WriteFile(file, []byte("foo:bar\nbaaaz:quux\n"), 0o600))
	auth, err := LoadAuth(file)
	require.NoError(t, err)
	s, path := serve(t, Options{Auth: auth})
	nc := dial(t, path)
	for _, step := range [][2]string{
		{"get foo", "CLIENT_ERROR unauthenticated"},
		{"set foo 0 0 x", "CLIENT_ERROR unauthenticated"},
		{"set foo 0 0 2\r\nhi", "CLIENT_ERROR bad authentication token format"},
		{"set foo 0 0 7\r\nfoo bab", "CLIENT_ERROR authentication failure"},
		{"set foo 0 0 7\r\nfob bar", "CLIENT_ERROR authentication failure"},
		{"set foo 0 0 7\r\nfoo bar", "STORED"},
		{"get foo", "END"},
		{"set toast 0 0 2\r\nhi", "STORED"},
	} {
		require.Equal(t, []string{step[1]}, ask(t, nc, step[0]), step[0])
	}
	require.Equal(t, []string{"STORED"}, ask(t, dial(t, path), "set foo 0 0 10\r\nbaaaz quux"))
	require.Equal(t, "2", statsOf(t, nc, "")["auth_errors"])
	require.Equal(t, uint64(4), s.count(authCmds))
	for _, hostile := range []string{"set a 0 0 100000\r\n", strings.Repeat("x", maxLine+1)} {
		nc := dial(t, path)
		_, err := io.WriteString(nc, hostile)
		require.NoError(t, err)
		require.NotContains(t, isClosed(t, nc), "STORED")
	}

	require.NoError(t, os.WriteFile(file, []byte("new:secret\r\n"), 0o600))
	require.NoError(t, auth.Reload())
	require.Equal(t, []string{"STORED"}, ask(t, dial(t, path), "set foo 0 0 10\r\nnew secret"))
	for text, want := range map[string]string{"new\n": "line 1 of", "": "has no line"} {
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		require.ErrorContains(t, auth.Reload(), want)
	}
	require.Equal(t, []string{"STORED"}, ask(t, dial(t, path), "set foo 0 0 10\r\nnew secret"))
	_, err = LoadAuth(file + ".none")
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestDebugTime(t *testing.T) {
	k := &Clock{}
	c, err := cache.Open(testdir.Memory(t)+"/store", &cache.Options{Bytes: 8 << 20, Now: k.Now})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	_, path := serve(t, Options{Cache: c, Clock: k})
	nc := dial(t, path)
	for _, step := range [][2]string{
		{"debugtime p", "OK"},
		{"set a 0 10 1\r\n1", "STORED"},
		{"debugtime 9", "OK"},
		{"touch a 10", "TOUCHED"},
		{"debugtime 9", "OK"},
		{"touch a 1", "TOUCHED"},
		{"debugtime 2", "OK"},
		{"get a", "END"},
		{"debugtime x", "ERROR"},
		{"set a 0 0 1\r\n1", "STORED"},
		{"flush_all 10", "OK"},
		{"touch a 0", "TOUCHED"},
		{"debugtime 10", "OK"},
		{"get a", "END"},
		{"debugtime r", "OK"},
	} {
		require.Equal(t, []string{step[1]}, ask(t, nc, step[0]), step[0])
	}
	_, path = serve(t, Options{})
	require.Equal(t, []string{"ERROR"}, ask(t, dial(t, path), "debugtime 1"))
}

func TestShutdownCommand(t *testing.T) {
	stopped := make(chan bool, 2)
	_, path := serve(t, Options{AllowShutdown: true, Stop: func(graceful bool) { stopped <- graceful }})
	nc := dial(t, path)
	_, err := io.WriteString(nc, "shutdown\r\n")
	require.NoError(t, err)
	require.Empty(t, isClosed(t, nc))
	require.False(t, <-stopped)
	nc = dial(t, path)
	_, err = io.WriteString(nc, "shutdown graceful\r\n")
	require.NoError(t, err)
	require.Empty(t, isClosed(t, nc))
	require.True(t, <-stopped)
}

func TestOptions(t *testing.T) {
	c, err := cache.Open(testdir.Memory(t)+"/store", &cache.Options{Bytes: 8 << 20})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	for want, o := range map[string]Options{
		"Options.Cache is nil":       {},
		"Options.ItemSize is -1":     {Cache: c, ItemSize: -1},
		"Options.MaxConns is -1":     {Cache: c, MaxConns: -1},
		"Options.Threads is -1":      {Cache: c, Threads: -1},
		"Options.Auth is given with": {Cache: c, Auth: &Auth{}, Binary: true},
	} {
		_, err := New(&o)
		require.ErrorContains(t, err, want)
	}
	s, err := New(&Options{Cache: c})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	require.NoError(t, s.Shutdown(ctx)) // without a Serve
}

// A file of users that is none, or has no end, is an error, and nobody waits for it.
func TestAuthFromOtherFiles(t *testing.T) {
	_, err := LoadAuth(os.DevNull)
	require.ErrorContains(t, err, "expected a regular file")
	file := t.TempDir() + "/users"
	require.NoError(t, syscall.Mkfifo(file, 0o600))
	_, err = LoadAuth(file)
	require.ErrorContains(t, err, "expected a regular file")
	require.NoError(t, os.Remove(file))
	require.NoError(t, os.WriteFile(file, []byte(strings.Repeat("user:password\n", 100_000)), 0o600))
	_, err = LoadAuth(file)
	require.ErrorContains(t, err, "found more than 1048576 bytes")
}

// A server whose time to end is over does not go on evicting or deleting for a client.
func TestLongWorkEndsWithTheServer(t *testing.T) {
	s, path := serve(t, Options{})
	nc := dial(t, path)
	const items = 100
	for i := range items {
		ask(t, nc, fmt.Sprintf("set %d 0 0 200000\r\n%s", i, strings.Repeat("v", 200_000)))
	}
	s.endWork()
	for _, request := range []string{"cache_memlimit 8", "lru_crawler crawl all"} {
		nc := dial(t, path)
		_, err := io.WriteString(nc, request+"\r\n")
		require.NoError(t, err)
		require.Empty(t, isClosed(t, nc), request)
	}
	require.Equal(t, int64(items), s.cache.Stats().Items)
}

// A lower limit is reached in steps.
func TestMemoryLimitInSteps(t *testing.T) {
	s, path := serve(t, Options{})
	nc := dial(t, path)
	for i := range 200 {
		ask(t, nc, fmt.Sprintf("set %d 0 0 200000\r\n%s", i, strings.Repeat("v", 200_000)))
	}
	require.Equal(t, []string{"OK"}, ask(t, nc, "cache_memlimit 8"))
	c := s.cache.Stats()
	require.LessOrEqual(t, c.LiveBytes, int64(8<<20))
	require.Greater(t, c.Items, int64(10))
	require.Equal(t, "8388608", statsOf(t, nc, "")["limit_maxbytes"])
}
