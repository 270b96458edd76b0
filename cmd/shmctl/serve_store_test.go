package main

import (
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/daemon"
	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/shm/cache"
)

// Two servers and a Go program work on the same items at the same time. A temporary store is
// removed by its maker alone, and not while others have it open.
func TestServeOneStore(t *testing.T) {
	dir := t.TempDir()
	store := filepath.Join(dir, "store")
	first := serving(t, dir, "-s", filepath.Join(dir, "first"), "--store", store, "--temporary")
	second := serving(t, dir, "-s", filepath.Join(dir, "second"), "--store", store, "--temporary")
	c, err := cache.Open(store, &cache.Options{Bytes: 64 << 20})
	require.NoError(t, err)

	a, b := first.dial(t), second.dial(t)
	a.asks("set n 5 0 2\r\n10", "STORED")
	b.asks("incr n 1", "11")
	it, err := c.AppendItem(nil, []byte("n"))
	require.NoError(t, err)
	require.Equal(t, "11", string(it.Value))
	require.Equal(t, uint32(5), it.Flags)
	_, err = c.SetItem([]byte("n"), cache.Item{Value: []byte("12"), Flags: 6}, cache.IfPresent)
	require.NoError(t, err)
	a.asks("get n", "VALUE n 6 2", "12", "END")
	b.asks("delete n", "DELETED")
	a.asks("get n", "END")

	require.NoError(t, second.Process.Signal(syscall.SIGTERM))
	require.Zero(t, second.ends(t))
	a.asks("set n 0 0 1\r\n1", "STORED")
	require.DirExists(t, store)

	require.NoError(t, first.Process.Signal(syscall.SIGTERM))
	require.Zero(t, first.ends(t))
	require.DirExists(t, store)
	require.Contains(t, first.errors.String(), "the temporary store stays")
	require.NoError(t, c.Close())

	third := serving(t, dir, "--store", store, "--temporary")
	third.dial(t).asks("get n", "VALUE n 0 1", "1", "END")
	require.NoError(t, third.Process.Signal(syscall.SIGINT))
	require.Zero(t, third.ends(t))
	require.DirExists(t, store, "another run has made it")

	fourth := serving(t, dir, "--store", store+"4", "--temporary", "--region", "pages")
	fourth.dial(t).asks("set n 0 0 1\r\n1", "STORED")
	maps, err := os.ReadDir(store + "4")
	require.NoError(t, err)
	require.NotEmpty(t, maps)
	require.NoError(t, fourth.Process.Signal(syscall.SIGINT))
	require.Zero(t, fourth.ends(t))
	require.NoDirExists(t, store+"4")
}

// A server without --store finds its store again by its socket.
func TestServeStoreOfItsOwn(t *testing.T) {
	dir := t.TempDir()
	const own = `store=(/\S+)`
	var paths []string
	for round := range 2 {
		v := serving(t, dir, "-v")
		path := v.says(t, own)[0]
		paths = append(paths, path[1])
		t.Cleanup(func() { _ = os.RemoveAll(path[1]) })
		c := v.dial(t)
		if round == 0 {
			c.asks("set a 0 0 1\r\nx", "STORED")
		} else {
			c.asks("get a", "VALUE a 0 1", "x", "END")
		}
		st, err := os.Stat(path[1])
		require.NoError(t, err)
		require.Equal(t, os.ModeDir|0o700, st.Mode())
		require.NoError(t, v.Process.Signal(syscall.SIGTERM))
		require.Zero(t, v.ends(t), "%s", v.errors)
	}
	require.Equal(t, paths[0], paths[1])

	// One that others may write to is not trusted.
	require.NoError(t, os.Chmod(paths[0], 0o777))
	refused := launched(t, dir)
	require.Equal(t, exitFailure, refused.ends(t))
	require.Contains(t, refused.errors.String(), "that only this user may write to")
	require.NoError(t, os.RemoveAll(paths[0]))
	require.NoError(t, os.Symlink(dir, paths[0]))
	refused = launched(t, dir)
	require.Equal(t, exitFailure, refused.ends(t))
	require.Contains(t, refused.errors.String(), "that only this user may write to")

	// A temporary one is another one each time, and is removed.
	v := serving(t, dir, "-v", "--temporary")
	path := v.says(t, own)[0]
	require.NotEqual(t, paths[0], path[1])
	require.DirExists(t, path[1])
	require.NoError(t, v.Process.Signal(syscall.SIGTERM))
	require.Zero(t, v.ends(t))
	require.NoDirExists(t, path[1])
}

// A server listens on TCP and on a socket at once, only on loopback unless -l says otherwise,
// and shows its metrics.
func TestServeTCPAndMetrics(t *testing.T) {
	dir := t.TempDir()
	v := serving(t, dir, "-p", "-1", "-v", "--temporary", "--metrics", ":0", "-m", "8")
	all := v.says(t, `msg=listening address="?([0-9.]+:\d+|\[::1\]:\d+)"?`)
	v.dial(t).asks("set a 0 0 1\r\nx", "STORED")
	port := ""
	for _, a := range all {
		host, p, err := net.SplitHostPort(a[1])
		require.NoError(t, err)
		require.True(t, net.ParseIP(host).IsLoopback(), host)
		require.True(t, port == "" || port == p)
		port = p
		dialing(t, "tcp", a[1]).asks("get a", "VALUE a 0 1", "x", "END")
	}

	at := v.says(t, `msg=listening for=metrics address=(127.0.0.1:\d+)`)[0]
	metrics := fetched(t, "http://"+at[1]+"/metrics")
	require.Regexp(t, `(?m)^shmkv_cache_items 1$`, metrics)
	require.Regexp(t, `(?m)^shmctl_memcached_sets_total 1$`, metrics)
	require.Regexp(t, `(?m)^shmctl_memcached_limit_bytes 8388608$`, metrics)
	for _, line := range regexp.MustCompile(`(?m)^[^#].*$`).FindAllString(metrics, -1) {
		require.Regexp(t, `^[a-z_]+ -?[0-9.]+$`, line)
	}
	var vars struct {
		Cache     cache.Stats    `json:"cache"`
		Memcached map[string]any `json:"memcached"`
	}
	require.NoError(t, json.Unmarshal([]byte(fetched(t, "http://"+at[1]+"/debug/vars")), &vars))
	require.Equal(t, int64(1), vars.Cache.Items)
	require.Equal(t, 1.0, vars.Memcached["cmd_set"])
	require.NoError(t, v.Process.Signal(syscall.SIGTERM))
	require.Zero(t, v.ends(t), "%s", v.errors)
}

func fetched(t *testing.T, url string) string {
	t.Helper()
	r, err := http.Get(url)
	require.NoError(t, err)
	defer func() { _ = r.Body.Close() }()
	require.Equal(t, http.StatusOK, r.StatusCode)
	b, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	return string(b)
}

// The command shutdown ends a server that allows it. HUP reads the users again.
func TestServeUsersAndShutdown(t *testing.T) {
	dir := t.TempDir()
	users := filepath.Join(dir, "users")
	require.NoError(t, os.WriteFile(users, []byte("alice:one\n"), 0o600))
	v := launched(t, dir, "--temporary", "-A", "-Y", users)
	require.Eventually(t, func() bool {
		c, err := net.Dial("unix", v.socket)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	}, 30*time.Second, 5*time.Millisecond)
	v.dial(t).asks("get a", "CLIENT_ERROR unauthenticated")
	v.dial(t).asks("set auth 0 0 9\r\nalice one", "STORED")
	require.NoError(t, os.WriteFile(users, []byte("no user\n"), 0o600))
	require.NoError(t, v.Process.Signal(syscall.SIGHUP))
	v.says(t, "the users stay as they were")
	v.dial(t).asks("set auth 0 0 9\r\nalice one", "STORED")
	require.NoError(t, os.WriteFile(users, []byte("alice:two\n"), 0o600))
	require.NoError(t, v.Process.Signal(syscall.SIGHUP))
	require.Eventually(t, func() bool {
		c := v.dial(t)
		_, err := io.WriteString(c, "set auth 0 0 9\r\nalice two\r\n")
		require.NoError(t, err)
		line, err := c.r.ReadString('\n')
		return err == nil && line == "STORED\r\n"
	}, 30*time.Second, 5*time.Millisecond)
	c := v.dial(t)
	c.asks("set auth 0 0 9\r\nalice one", "CLIENT_ERROR authentication failure")
	c.asks("set auth 0 0 9\r\nalice two", "STORED")
	c.asks("shutdown")
	require.Zero(t, v.ends(t), "%s", v.errors)

	refused := launched(t, dir, "--temporary", "-Y", filepath.Join(dir, "none"))
	require.Equal(t, exitFailure, refused.ends(t))
	require.Contains(t, refused.errors.String(), "reading the file of users")
}

// A temporary store stays if another server is about to open it.
func TestTemporaryStoreWhileAnotherOpensIt(t *testing.T) {
	path := filepath.Join(testdir.Memory(t), "store")
	s, err := parseMemcached(t, "--store", path)
	require.NoError(t, err)
	silent := slog.New(slog.DiscardHandler)
	first, err := openServed(s, nil, silent)
	require.NoError(t, err)
	require.True(t, first.made)
	before, err := os.Stat(filepath.Join(path, "data"))
	require.NoError(t, err)

	unlock, err := daemon.LockDir(path)
	require.NoError(t, err)
	closed := make(chan error)
	go func() { closed <- first.close(true, silent) }()
	time.Sleep(10 * time.Millisecond)
	second, err := cache.Open(path, &cache.Options{Bytes: s.bytes})
	require.NoError(t, err)
	_, err = second.SetItem([]byte("k"), cache.Item{Value: []byte("v")}, cache.Always)
	require.NoError(t, err)
	unlock()
	require.NoError(t, <-closed)
	after, err := os.Stat(filepath.Join(path, "data"))
	require.NoError(t, err)
	require.True(t, os.SameFile(before, after), "the store was removed, and another one made")
	require.NoError(t, second.Close())

	// What is no directory, or leads nowhere, is an error, and nobody waits.
	for name, make := range map[string]func(path string) error{
		"link": func(path string) error { return os.Symlink(path+"nowhere", path) },
		"pipe": func(path string) error { return syscall.Mkfifo(path, 0o600) },
	} {
		s.store = path + name
		require.NoError(t, make(s.store))
		_, err = openServed(s, nil, silent)
		require.Error(t, err, name)
	}
}
