package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testproc"
)

// A served is a process of shmctl serve memcached that a test has started.
type served struct {
	*exec.Cmd
	socket string
	errors *lockedBuffer
}

// A lockedBuffer is what a process has written so far.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// serving starts a server on a unix socket in dir, and waits until it answers.
func serving(t *testing.T, dir string, args ...string) *served {
	t.Helper()
	v := launched(t, dir, args...)
	v.awaitAnswer(t)
	return v
}

// launched starts a server on the socket "sock" in dir, unless args name another one.
func launched(t *testing.T, dir string, args ...string) *served {
	t.Helper()
	v := &served{socket: filepath.Join(dir, "sock"), errors: &lockedBuffer{}}
	all := []string{"serve", "memcached", "-s", v.socket}
	for i, a := range args {
		if a == "-s" {
			v.socket, all = args[i+1], all[:2]
		}
	}
	v.Cmd = exec.Command("shmctl", append(all, args...)...)
	v.Stdout, v.Stderr = v.errors, v.errors
	testproc.Start(t, v.Cmd)
	return v
}

func (v *served) awaitAnswer(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool {
		c, err := net.Dial("unix", v.socket)
		if err != nil {
			return false
		}
		defer func() { _ = c.Close() }()
		_, _ = io.WriteString(c, "version\r\n")
		line, _ := bufio.NewReader(c).ReadString('\n')
		return strings.HasPrefix(line, "VERSION ")
	}, 30*time.Second, 5*time.Millisecond, "%s", v.errors)
}

// ends waits for the end of a server, and returns its exit code.
func (v *served) ends(t *testing.T) int {
	t.Helper()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = v.Wait()
	}()
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		require.FailNow(t, "the server does not end", "%s", v.errors)
	}
	return v.ProcessState.ExitCode()
}

// says waits until the log of a server matches, and returns all matches. The server may answer
// before it logs that it listens.
func (v *served) says(t *testing.T, pattern string) (all [][]string) {
	t.Helper()
	re := regexp.MustCompile(pattern)
	require.Eventually(t, func() bool {
		all = re.FindAllStringSubmatch(v.errors.String(), -1)
		return len(all) > 0
	}, 30*time.Second, 5*time.Millisecond, "%s: %s", pattern, v.errors)
	return all
}

// A client is a connection with a server.
type client struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func dialing(t *testing.T, network, address string) *client {
	t.Helper()
	c, err := net.Dial(network, address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return &client{t, c, bufio.NewReader(c)}
}

func (v *served) dial(t *testing.T) *client {
	t.Helper()
	return dialing(t, "unix", v.socket)
}

// asks sends a request and requires an answer of several lines.
func (c *client) asks(request string, answer ...string) {
	c.t.Helper()
	_, err := io.WriteString(c, request+"\r\n")
	require.NoError(c.t, err)
	for _, want := range answer {
		line, err := c.r.ReadString('\n')
		require.NoError(c.t, err, request)
		require.Equal(c.t, want+"\r\n", line, request)
	}
}

// A server ends at each signal with status 0, whatever its connections are doing, and removes
// its socket and its pid file. The store stays.
func TestServeSignals(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGUSR1} {
		dir := t.TempDir()
		pid, store := filepath.Join(dir, "pid"), filepath.Join(dir, "store")
		v := serving(t, dir, "--store", store, "-P", pid, "-a", "0750")
		st, err := os.Stat(v.socket)
		require.NoError(t, err)
		require.Equal(t, os.ModeSocket|0o750, st.Mode())
		number, err := os.ReadFile(pid)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintln(v.Process.Pid), string(number))

		v.dial(t) // idle
		half := v.dial(t)
		half.asks("set a 0 0 1\r\nx", "STORED")
		_, err = io.WriteString(half, "set b 0 0 100\r\nxxx")
		require.NoError(t, err)
		if sig != syscall.SIGUSR1 { // which would wait for it
			deaf := v.dial(t)
			deaf.asks("set big 0 0 500000\r\n"+strings.Repeat("x", 500000), "STORED")
			_, err = io.WriteString(deaf, strings.Repeat("get big\r\n", 100))
			require.NoError(t, err)
		}
		require.NoError(t, v.Process.Signal(sig))
		require.Zero(t, v.ends(t), "%v: %s", sig, v.errors)
		require.NoFileExists(t, v.socket)
		require.NoFileExists(t, pid)
		require.DirExists(t, store)
	}
}

// What was acknowledged is there after a SIGKILL, with the next server on the same socket.
func TestServeKilled(t *testing.T) {
	dir := t.TempDir()
	store := filepath.Join(dir, "store")
	acknowledged := map[string]bool{}
	for round := range 3 {
		v := serving(t, dir, "--store", store)
		c := v.dial(t)
		for key := range acknowledged {
			c.asks("get "+key, "VALUE "+key+" 7 4", "dear", "END")
		}
		// One goroutine sends and one reads, until the kill ends both.
		go func() {
			for i := 0; ; i++ {
				if _, err := fmt.Fprintf(c, "set %d.%d 7 0 4\r\ndear\r\n", round, i); err != nil {
					return
				}
			}
		}()
		for i := 0; ; i++ {
			line, err := c.r.ReadString('\n')
			if err != nil {
				break
			}
			require.Equal(t, "STORED\r\n", line)
			acknowledged[fmt.Sprintf("%d.%d", round, i)] = true
			if i == 500 {
				require.NoError(t, v.Process.Kill())
			}
		}
		require.Equal(t, -1, v.ends(t))
		_, err := os.Lstat(v.socket)
		require.NoError(t, err, "a killed server cannot remove its socket")
	}
	require.Greater(t, len(acknowledged), 1500)
}

// A socket that a server listens on, and files of other kinds, stay as they are.
func TestServeSocketInUse(t *testing.T) {
	dir := t.TempDir()
	v := serving(t, dir, "--store", filepath.Join(dir, "store"))
	second := launched(t, dir, "--temporary")
	require.Equal(t, exitFailure, second.ends(t))
	require.Contains(t, second.errors.String(), "found a socket that another process listens on")
	v.dial(t).asks("get a", "END")

	letter := filepath.Join(dir, "letter")
	require.NoError(t, os.WriteFile(letter, []byte("Dear all"), 0o600))
	for _, args := range [][]string{{"-s", letter}, {"-s", filepath.Join(dir, "other"), "--store", letter}, {"-s", dir}} {
		refused := launched(t, dir, append(args, "--temporary")...)
		require.NotZero(t, refused.ends(t))
		require.Contains(t, refused.errors.String(), "found a file")
	}
	kept, err := os.ReadFile(letter)
	require.NoError(t, err)
	require.Equal(t, "Dear all", string(kept))
	refused := launched(t, dir, "-s", filepath.Join(dir, strings.Repeat("long", 30)), "--temporary")
	require.Equal(t, exitFailure, refused.ends(t))
	require.Contains(t, refused.errors.String(), "expected at most 107")
	refused = launched(t, dir, "-s", filepath.Join(dir, "other"), "-P", dir, "--temporary")
	require.Equal(t, exitFailure, refused.ends(t))
	require.Contains(t, refused.errors.String(), "expected a regular file or none")
	require.NoFileExists(t, filepath.Join(dir, "other"), "what was opened before an error is closed")
}

// Of several servers that start at once where a killed one has left its socket, one gets it.
func TestServeStaleSocketAtOnce(t *testing.T) {
	dir := t.TempDir()
	v := serving(t, dir, "--store", filepath.Join(dir, "store"))
	require.NoError(t, v.Process.Kill())
	_ = v.ends(t)
	var all []*served
	for range 4 {
		all = append(all, launched(t, dir, "--store", filepath.Join(dir, "store")))
	}
	running := map[*served]bool{}
	for _, v := range all {
		running[v] = true
	}
	exits := make(chan *served, len(all))
	for _, v := range all {
		go func() {
			_ = v.Wait()
			exits <- v
		}()
	}
	for len(running) > 1 {
		v := <-exits
		require.Equal(t, exitFailure, v.ProcessState.ExitCode(), "%s", v.errors)
		require.Contains(t, v.errors.String(), "found a socket that another process listens on")
		delete(running, v)
	}
	for v := range running {
		v.awaitAnswer(t)
		require.NoError(t, v.Process.Signal(syscall.SIGTERM))
		<-exits
		require.Zero(t, v.ProcessState.ExitCode())
	}
}
