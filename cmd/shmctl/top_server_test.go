package main

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// lookedAt returns what top shows of a store.
func lookedAt(t *testing.T, path string) (l topLook) {
	t.Helper()
	out, err := exec.Command("shmctl", "top", path, "--json", "--count", "1", "--interval", "10ms").Output()
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(out, &l))
	return l
}

// top shows on which addresses a server listens, and how many connections it has.
func TestTopShowsServers(t *testing.T) {
	dir := t.TempDir()
	store := filepath.Join(dir, "a store")
	v := serving(t, dir, "--store", store, "-s", filepath.Join(dir, "a sock"), "-p", "-1")
	other := newStore(t)
	look := func(path string) topLook { return lookedAt(t, path) }
	v.dial(t).asks("get a", "END")
	var first topProcess
	require.Eventually(t, func() bool { // the server may not know yet that the connection of its start is closed
		l := look(store)
		require.Len(t, l.Processes, 1)
		first = l.Processes[0]
		require.Equal(t, v.Process.Pid, first.Pid)
		require.NotNil(t, first.Server)
		return first.Server.Connections == 1
	}, 30*time.Second, 10*time.Millisecond)
	require.Equal(t, "memcached", first.Server.Protocol)
	require.Contains(t, first.Server.Addresses, v.socket)
	i := slices.IndexFunc(first.Server.Addresses, func(a string) bool { return strings.HasPrefix(a, "127.0.0.1:") })
	require.GreaterOrEqual(t, i, 0, "%q", first.Server.Addresses)
	tcp := first.Server.Addresses[i]

	dialing(t, "tcp", tcp).asks("get a", "END")
	require.Equal(t, 2, look(store).Processes[0].Server.Connections)
	out, err := exec.Command("shmctl", "top", store, "--count", "1", "--interval", "10ms").Output()
	require.NoError(t, err)
	require.Contains(t, string(out), fmt.Sprintf("  %d serves memcached on ", v.Process.Pid))
	require.Contains(t, string(out), "to 2 connections\n")

	for _, p := range look(other.Path()).Processes { // this one, which serves nothing
		require.Nil(t, p.Server)
	}
	require.NoError(t, v.Process.Signal(syscall.SIGTERM))
	require.Zero(t, v.ends(t))
}

func TestAddressOfTheKernel(t *testing.T) {
	for found, want := range map[string]string{
		"0100007F:2BCB":                         "127.0.0.1:11211",
		"00000000:0007":                         "0.0.0.0:7",
		"00000000000000000000000001000000:2BCB": "[::1]:11211",
		"?":                                     "?",
	} {
		require.Equal(t, want, tcpAddress(found))
	}
}
