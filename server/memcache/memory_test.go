//go:build !race

package memcache

import (
	"fmt"
	"net"
	"os"
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
)

// Connections that have been used and are idle take little memory, in all.
func TestMemoryOfIdleConnections(t *testing.T) {
	conns := testdir.Scale(1000, 10_000)
	const most = 4 << 10 // bytes a connection
	s := startServer(t, testdir.Memory(t)+"/store", 8<<20)
	warm := dial(t, s.socket)
	for range 1000 {
		ask(t, warm, "get a")
	}
	before := privateBytes(t, s.Process.Pid)
	for range conns {
		nc, err := net.Dial("unix", s.socket)
		require.NoError(t, err)
		defer nc.Close()
		ask(t, nc, "get a")
	}
	after := privateBytes(t, s.Process.Pid)
	require.Less(t, after-before, conns*most+1<<20)
	t.Logf("%d bytes a connection", (after-before)/conns)
}

// privateBytes returns the memory of a process that is not that of files.
func privateBytes(t *testing.T, pid int) int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	m := regexp.MustCompile(`RssAnon:\s+(\d+) kB`).FindSubmatch(text)
	require.NotNil(t, m)
	n, err := strconv.Atoi(string(m[1]))
	require.NoError(t, err)
	return n << 10
}
