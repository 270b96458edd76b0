// Package clients_test runs real clients of memcached against a server of a cache: libraries
// of Go here, and those of other languages by the scripts in scripts/, which need an
// interpreter and a library that may be missing. Such a test is skipped, and says what is
// missing.
package clients_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/server/memcache"
	"github.com/seed-869cc763/shmkv/shm/cache"
)

// A server serves a cache of its own on a port of the loopback interface and on a socket.
type server struct {
	host, port, socket string
	items              *cache.Cache
}

func start(t *testing.T) server {
	memory := "/dev/shm"
	if st, err := os.Stat(memory); err != nil || !st.IsDir() {
		memory = ""
	}
	dir, err := os.MkdirTemp(memory, "clients")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	s := server{socket: filepath.Join(t.TempDir(), "socket")}
	s.items, err = cache.Open(filepath.Join(dir, "store"), &cache.Options{Bytes: 64 << 20})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.items.Close()) })
	srv, err := memcache.New(&memcache.Options{Cache: s.items})
	require.NoError(t, err)
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	unix, err := net.Listen("unix", s.socket)
	require.NoError(t, err)
	s.host, s.port, err = net.SplitHostPort(tcp.Addr().String())
	require.NoError(t, err)
	ended := make(chan error, 2)
	for _, l := range []net.Listener{tcp, unix} {
		go func() { ended <- srv.Serve(l) }()
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		require.NoError(t, srv.Shutdown(ctx))
		for range 2 {
			require.ErrorIs(t, <-ended, memcache.ErrServerClosed)
		}
	})
	return s
}

// missing is the status by which a script tells that a library is missing.
const missing = 77

// TestScripts runs each script of the directory scripts against a server of its own. A script
// prints each check that failed, and ends with their number.
func TestScripts(t *testing.T) {
	interpreters := map[string][]string{
		".py": {"/usr/bin/python3", "python3"}, // the first has Debian's libraries
		".pl": {"perl"},
		".rb": {"ruby"},
		".js": {"node", "nodejs"},
	}
	scripts, err := filepath.Glob("scripts/with_*")
	require.NoError(t, err)
	require.NotEmpty(t, scripts)
	for _, script := range scripts {
		t.Run(filepath.Base(script), func(t *testing.T) {
			t.Parallel() // they mostly wait for items to expire
			var program string
			var err error
			for _, name := range interpreters[filepath.Ext(script)] {
				if program, err = exec.LookPath(name); err == nil {
					break
				}
			}
			if err != nil {
				t.Skipf("an interpreter is missing: %v", err)
			}
			run(t, exec.Command(program, script), start(t))
		})
	}
}

// run runs a script, which gets the addresses of the server as its arguments.
func run(t *testing.T, cmd *exec.Cmd, s server) {
	modules, err := filepath.Abs(".")
	require.NoError(t, err)
	cmd.Args = append(cmd.Args, s.host, s.port, s.socket, modules)
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	out, err := cmd.CombinedOutput()
	text := strings.TrimSpace(string(out))
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == missing {
		t.Skip(text)
	}
	require.NoError(t, err, "%s", text)
	require.Contains(t, text, " checks, 0 failed")
	t.Log(text)
}

// TestPymemcacheItself runs the tests that pymemcache brings along for a server.
func TestPymemcacheItself(t *testing.T) {
	const python = "/usr/bin/python3"
	where, err := exec.Command(python, "-c", "import pytest, pymemcache.test.test_integration as t; print(t.__file__)").Output()
	if err != nil {
		t.Skipf("Debian's python3-pytest or python3-pymemcache is missing: %v", err)
	}
	s := start(t)
	cmd := exec.Command(python, "-m", "pytest", "-q", "-W", "ignore", "-p", "no:cacheprovider", strings.TrimSpace(string(where)),
		"--server", s.host, "--port", s.port, "-k", "not tls", "-rs")
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	cmd.Dir = t.TempDir()
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), " passed")
	t.Logf("%s", out)
}

// TestAnyClientAndGo: what a client has set, a Go process finds in the cache, and the other way
// round, by both protocols.
func TestAnyClientAndGo(t *testing.T) {
	s := start(t)
	_, err := s.items.SetItem([]byte("go"), cache.Item{Value: []byte("from Go"), Flags: 5}, cache.Always)
	require.NoError(t, err)
	nc, err := net.Dial("unix", s.socket)
	require.NoError(t, err)
	defer nc.Close()
	_, err = io.WriteString(nc, "get go\r\nset text 7 0 9\r\nfrom text\r\nquit\r\n")
	require.NoError(t, err)
	b, err := io.ReadAll(nc)
	require.NoError(t, err)
	require.Equal(t, "VALUE go 5 7\r\nfrom Go\r\nEND\r\nSTORED\r\n", string(b))
	it, err := s.items.Get([]byte("text"))
	require.NoError(t, err)
	require.Equal(t, "from text", string(it.Value))
	require.Equal(t, uint32(7), it.Flags)

	packets, err := net.Dial("tcp", net.JoinHostPort(s.host, s.port))
	require.NoError(t, err)
	defer packets.Close()
	// setq of packet, then quit
	_, err = io.WriteString(packets, "\x80\x11\x00\x06\x08\x00\x00\x00\x00\x00\x00\x19\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"+
		"\x00\x00\x00\x09\x00\x00\x00\x00packetfrom packet"[:8+6+11]+"\x80\x17"+strings.Repeat("\x00", 22))
	require.NoError(t, err)
	b, err = io.ReadAll(packets)
	require.NoError(t, err)
	require.Empty(t, b)
	it, err = s.items.Get([]byte("packet"))
	require.NoError(t, err)
	require.Equal(t, "from packet", string(it.Value))
	require.Equal(t, uint32(9), it.Flags)
}
