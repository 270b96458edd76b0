package memcache

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/shm/cache"
)

// Environment of the test binary as a server: the store, the socket and the bound in bytes.
const (
	childStore  = "SHMKV_MEMCACHE_TEST_STORE"
	childSocket = "SHMKV_MEMCACHE_TEST_SOCKET"
	childBytes  = "SHMKV_MEMCACHE_TEST_BYTES"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(childStore); path != "" {
		fmt.Fprintln(os.Stderr, serveChild(path))
		os.Exit(3)
	}
	os.Exit(testdir.Main(m))
}

func serveChild(path string) error {
	runtime.GOMAXPROCS(runtime.NumCPU() + 1) // see Options.Threads
	bytes, err := strconv.ParseInt(os.Getenv(childBytes), 10, 64)
	if err != nil {
		return err
	}
	c, err := cache.Open(path, &cache.Options{Bytes: bytes})
	if err != nil {
		return err
	}
	s, err := New(&Options{Cache: c, MaxConns: 20_000})
	if err != nil {
		return err
	}
	_ = os.Remove(os.Getenv(childSocket))
	l, err := net.Listen("unix", os.Getenv(childSocket))
	if err != nil {
		return err
	}
	return s.Serve(l)
}

// A serverChild is a server in a process of its own. It dies with its parent.
type serverChild struct {
	cmd    *exec.Cmd
	socket string
	done   chan struct{}
}

func startServer(t testing.TB, store string, bytes int64) *serverChild {
	exe, err := os.Executable()
	require.NoError(t, err)
	c := &serverChild{cmd: exec.Command(exe), socket: t.TempDir() + "/socket", done: make(chan struct{})}
	c.cmd.Env = append(os.Environ(), childStore+"="+store, childSocket+"="+c.socket, childBytes+"="+strconv.FormatInt(bytes, 10))
	c.cmd.Stdout, c.cmd.Stderr = os.Stderr, os.Stderr
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	// The kernel sends that signal when the thread that forked ends: this one does not.
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := c.cmd.Start()
		started <- err
		if err == nil {
			_ = c.cmd.Wait()
		}
		close(c.done)
	}()
	require.NoError(t, <-started)
	t.Cleanup(c.kill)
	await(t, c.socket)
	return c
}

func (c *serverChild) kill() {
	_ = c.cmd.Process.Kill()
	<-c.done
}

// await waits until somebody listens on a socket.
func await(t testing.TB, socket string) {
	require.Eventually(t, func() bool {
		nc, err := net.Dial("unix", socket)
		if err == nil {
			nc.Close()
		}
		return err == nil
	}, 10*time.Second, 5*time.Millisecond, "nobody listens")
}
