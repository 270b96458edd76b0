package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/server/count/countclient"
	"github.com/seed-869cc763/shmkv/shm/record"
)

// The pid file and the addresses in the log are there before anybody is served. A run that ends
// by an error removes its pid file and closes its listeners.
func TestServerRunBegins(t *testing.T) {
	var log lockedBuffer
	errClosed, errOther := errors.New("closed"), errors.New("other")
	r := newServerRun(logTo(&log, levelOf(1)), errClosed)
	r.pidFile = filepath.Join(t.TempDir(), "pid")
	found := make(chan string, 2)
	serve := func(err error) func(net.Listener) error {
		return func(net.Listener) error {
			b, _ := os.ReadFile(r.pidFile)
			found <- string(b) + log.String()
			return err
		}
	}
	require.NoError(t, r.listenTCP(t.Context(), []string{"127.0.0.1"}, -1, false, 1, serve(errClosed), "for", "tests"))
	socket := filepath.Join(t.TempDir(), "socket")
	require.NoError(t, r.listenUnix(socket, 0o700, 1, serve(errOther)))
	shutDowns := 0
	require.ErrorIs(t, r.serve(t.Context(), func(context.Context) error { shutDowns++; return nil }), errOther)
	require.Equal(t, 1, shutDowns)
	for range 2 {
		got := <-found
		require.Regexp(t, "^"+strconv.Itoa(os.Getpid())+"\n", got)
		require.Contains(t, got, "msg=listening for=tests address="+r.services[0].Addr().String()+"\n")
		require.Contains(t, got, "msg=listening address="+socket+"\n")
	}
	require.FileExists(t, r.pidFile)
	require.NoError(t, r.close())
	require.NoFileExists(t, r.pidFile)
	require.NoFileExists(t, socket)
	require.ErrorIs(t, r.services[0].Close(), net.ErrClosed)
}

// A server that finds one of its addresses in use leaves the pid file of the one that uses it.
func TestServeLeavesPidFileOfAnother(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer tcp.Close()
	_, used, err := net.SplitHostPort(tcp.Addr().String())
	require.NoError(t, err)
	dir, countdDir := t.TempDir(), t.TempDir()
	free := filepath.Join(dir, "free")
	fails := func(protocol, dir string, first *served, args ...string) {
		t.Helper()
		pid := filepath.Join(dir, "pid")
		args = append([]string{"serve", protocol, "--store", filepath.Join(dir, "store"), "-P", pid}, args...)
		out, err := exec.Command("shmctl", args...).CombinedOutput()
		require.EqualError(t, err, "exit status 1", "%q: %s", args, out)
		require.Regexp(t, "already in use|another process listens", string(out), "%q", args)
		require.NoFileExists(t, free)
		b, err := os.ReadFile(pid)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintln(first.Process.Pid), string(b), "%q", args)
	}
	m := serving(t, dir, "--store", filepath.Join(dir, "store"), "-P", filepath.Join(dir, "pid"))
	fails("memcached", dir, m, "-s", m.socket)
	fails("memcached", dir, m, "-s", free, "-l", "127.0.0.1", "-p", used)
	fails("memcached", dir, m, "-s", free, "--metrics", "127.0.0.1:"+used)
	c := countdServing(t, countdDir, nil, "-P", filepath.Join(countdDir, "pid"))
	fails("countd", countdDir, c, "-s", c.socket, "--read-socket", free)
	fails("countd", countdDir, c, "-s", free, "--read-socket", c.socket+".read")
	fails("countd", countdDir, c, "-l", "127.0.0.1", "-p", "-1", "--read-port", used)
}

// countd and durus show what they do, as metrics and as variables. top shows them as it does memcached.
func TestServersShowWhatTheyDo(t *testing.T) {
	dir := t.TempDir()
	a := countdServing(t, dir, nil, "-v", "--metrics", ":0") // one increment
	r, err := countclient.DialReader("unix", a.socket+".read", nil)
	require.NoError(t, err)
	defer r.Close()
	_, err = r.Range([]byte("answers"), 0, 1)
	require.NoError(t, err)

	durusDir := t.TempDir()
	b := launchedDurus(t, durusDir, "--file", filepath.Join(durusDir, "store"), "--metrics", ":0")
	c := b.awaitDurus(t)
	require.Zero(t, c.newID())
	require.True(t, c.commit(record.Record{Data: []byte("root")}))

	for protocol, s := range map[string]struct {
		v       *served
		dir     string
		metrics []string
		number  string // a variable
	}{
		"countd": {a, dir, []string{"connections 1", "increments_total 1", "increments_unanswered_total 0", "commits_total 1", "reads_total 1"}, "increments"},
		"durus":  {b, durusDir, []string{"connections 1", "loads_total 0", "commits_total 1", "conflicts_total 0"}, "commits"},
	} {
		at := "http://" + s.v.says(t, `msg=listening for=metrics address=(127.0.0.1:\d+)`)[0][1]
		lacks := ""
		require.Eventually(t, func() bool { // the server may not know yet that the connection of its start is closed
			all := fetched(t, at+"/metrics")
			for _, m := range s.metrics {
				if lacks = "shmctl_" + protocol + "_" + m + "\n"; !strings.Contains(all, lacks) {
					return false
				}
			}
			return true
		}, 30*time.Second, 10*time.Millisecond, "%s", &lacks)
		var vars map[string]map[string]any
		require.Eventually(t, func() bool {
			_ = json.Unmarshal([]byte(fetched(t, at+"/debug/vars")), &vars) // cmdline is no map
			return vars[protocol][s.number] == 1.0
		}, 30*time.Second, 10*time.Millisecond)
		require.NotZero(t, vars["store"]["version"])

		http.DefaultClient.CloseIdleConnections() // which top counts too
		require.Eventually(t, func() bool {
			l := lookedAt(t, filepath.Join(s.dir, "store"))
			require.Len(t, l.Processes, 1)
			require.Equal(t, protocol, l.Processes[0].Server.Protocol)
			require.Contains(t, l.Processes[0].Server.Addresses, s.v.socket)
			return l.Processes[0].Server.Connections == 1
		}, 30*time.Second, 10*time.Millisecond)
		require.NoError(t, s.v.Process.Signal(syscall.SIGTERM))
		require.Zero(t, s.v.ends(t), "%s", s.v.errors)
	}
}
