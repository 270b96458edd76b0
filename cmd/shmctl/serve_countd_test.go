package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testproc"
	"github.com/seed-869cc763/shmkv/server/count/countclient"
	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/counter"
)

// countdServing starts a server of dir/store on the unix socket dir/sock, unless args say
// otherwise, and waits until it answers. opts have the lengths of names.
func countdServing(t *testing.T, dir string, opts *countclient.Options, args ...string) *served {
	t.Helper()
	v := &served{socket: filepath.Join(dir, "sock"), errors: &lockedBuffer{}}
	all := append([]string{"serve", "countd", "-s", v.socket, "--store", filepath.Join(dir, "store")}, args...)
	v.Cmd = exec.Command("shmctl", all...)
	v.Stdout, v.Stderr = v.errors, v.errors
	testproc.Start(t, v.Cmd)
	require.Eventually(t, func() bool {
		a, err := countclient.DialAdder("unix", v.socket, opts)
		if err != nil {
			return false
		}
		defer func() { _ = a.Close() }()
		return a.Add([]byte("answers"), nil, 1) == nil
	}, 30*time.Second, 5*time.Millisecond, "%s", v.errors)
	return v
}

// What was answered is there after a SIGKILL, with the next server on the same sockets, for
// clients, Go programs and shmctl alike.
func TestCountdKilled(t *testing.T) {
	dir := t.TempDir()
	answered := 0
	for range 3 {
		v := countdServing(t, dir, nil)
		a, err := countclient.DialAdder("unix", v.socket, nil)
		require.NoError(t, err)
		time.AfterFunc(50*time.Millisecond, func() { _ = v.Process.Kill() })
		for a.Add([]byte("pages"), []byte("/index"), 1) == nil {
			answered++
		}
		_ = a.Close()
		v.ends(t)
	}
	v := countdServing(t, dir, nil)
	r, err := countclient.DialReader("unix", v.socket+".read", nil)
	require.NoError(t, err)
	rows, err := r.Range([]byte("pages"), 0, 10)
	require.NoError(t, err)
	require.Len(t, rows, 1)
	require.LessOrEqual(t, int64(answered), rows[0].N)
	require.LessOrEqual(t, rows[0].N, int64(answered)+3)
	require.NoError(t, r.Close())

	s, err := shm.Open(filepath.Join(dir, "store"), nil)
	require.NoError(t, err)
	now, err := counter.Open(s, "pages").Add([]byte("/index"), 1)
	require.NoError(t, err)
	require.Equal(t, rows[0].N+1, now)
	require.NoError(t, s.Close())
	code, out, _ := runs("", "counters", "--store", filepath.Join(dir, "store"), "pages")
	require.Zero(t, code)
	require.Equal(t, fmt.Sprintf("%d\t/index\n", now), out)

	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		require.NoError(t, v.Process.Signal(sig))
		require.Zero(t, v.ends(t), "%s", v.errors)
		require.NoFileExists(t, v.socket)
		require.NoFileExists(t, v.socket+".read")
		v = countdServing(t, dir, nil)
	}
}

// A server listens on TCP and on sockets at once, with names of other lengths. An overflow is
// logged.
func TestCountdTCP(t *testing.T) {
	dir := t.TempDir()
	pid := filepath.Join(dir, "pid")
	opts := &countclient.Options{KeyspaceBytes: 10, KeyBytes: 20}
	v := countdServing(t, dir, opts, "-p", "-1", "-v", "-P", pid, "--keyspace-bytes", "10", "--key-bytes", "20", "--read-socket", filepath.Join(dir, "reads"))
	number, err := os.ReadFile(pid)
	require.NoError(t, err)
	require.Equal(t, strconv.Itoa(v.Process.Pid), strings.TrimSpace(string(number)))
	adds := v.says(t, `msg=listening for=increments address="?([0-9.]+:\d+|\[::1\]:\d+)"?`)
	reads := v.says(t, `msg=listening for=reads address="?([0-9.]+:\d+|\[::1\]:\d+)"?`)
	for _, at := range adds {
		host, _, err := net.SplitHostPort(at[1])
		require.NoError(t, err)
		require.True(t, net.ParseIP(host).IsLoopback(), host)
		a, err := countclient.DialAdder("tcp", at[1], opts)
		require.NoError(t, err)
		require.NoError(t, a.Add([]byte("pages"), []byte("a"), 1<<60))
		require.NoError(t, a.Close())
	}
	r, err := countclient.DialReader("tcp", reads[0][1], opts)
	require.NoError(t, err)
	rows, err := r.Range([]byte("pages"), 0, 1)
	require.NoError(t, err)
	require.Equal(t, int64(len(adds))<<60, rows[0].N)
	require.NoError(t, r.Close())

	a, err := countclient.DialAdder("unix", v.socket, opts)
	require.NoError(t, err)
	require.NoError(t, a.Add([]byte("pages"), []byte("b"), 1<<62))
	require.Error(t, a.Add([]byte("pages"), []byte("b"), 1<<62))
	require.NoError(t, a.Close())
	v.says(t, `level=WARN msg="a connection was closed" .*adding to .*overflows`)
	require.NoError(t, v.Process.Signal(syscall.SIGTERM))
	require.Zero(t, v.ends(t), "%s", v.errors)
	require.NoFileExists(t, pid)
}

// With -d the command returns when the server answers.
func TestCountdDaemon(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command("shmctl", "serve", "countd", "-d", "-P", "pid", "-s", "sock", "--store", "store")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	number, err := os.ReadFile(filepath.Join(dir, "pid"))
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(number)))
	require.NoError(t, err)
	t.Cleanup(func() {
		if path, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); path == ourselves(t) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	a, err := countclient.DialAdder("unix", filepath.Join(dir, "sock"), nil)
	require.NoError(t, err)
	require.NoError(t, a.Add(nil, nil, 1))
	require.NoError(t, a.Close())
	require.NoError(t, syscall.Kill(pid, syscall.SIGTERM))
	require.Eventually(t, func() bool {
		_, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
		return err != nil
	}, 30*time.Second, 5*time.Millisecond)
	require.NoFileExists(t, filepath.Join(dir, "sock"))
	require.NoFileExists(t, filepath.Join(dir, "pid"))
}
