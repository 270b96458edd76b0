package memcache

import (
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestMemccapable runs libmemcached's test of servers, for both protocols.
func TestMemccapable(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("memccapable")
	if err != nil {
		t.Skip("memccapable is not installed; it is in Debian's libmemcached-tools")
	}
	for _, flag := range []string{"-b", "-a"} {
		t.Run(flag, func(t *testing.T) {
			t.Parallel()
			s, _ := serve(t, Options{})
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			go func() { _ = s.Serve(l) }() // ends with the server
			host, port, err := net.SplitHostPort(l.Addr().String())
			require.NoError(t, err)
			// It runs each test on new connections, and has none that takes longer than a second or two.
			cmd := exec.CommandContext(t.Context(), program, "-h", host, "-p", port, flag, "-t", "30")
			cmd.WaitDelay = time.Second
			out, err := cmd.CombinedOutput()
			t.Logf("%s", out)
			require.NoError(t, err)
			require.Contains(t, string(out), "All tests passed")
			require.NotContains(t, string(out), "[FAIL]")
			require.Greater(t, strings.Count(string(out), "[pass]"), 20)
		})
	}
}
