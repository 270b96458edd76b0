package main

import (
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

// parseCountd parses a command line of serve countd.
func parseCountd(t *testing.T, args ...string) (*countdSettings, error) {
	t.Helper()
	var f countdFlags
	cmd := &cobra.Command{Use: "countd"}
	f.add(cmd.Flags())
	require.NoError(t, cmd.ParseFlags(append(args, "--store", "/store")))
	return f.settings(cmd.Flags())
}

// The connections of the default need no more files than a process may open without root.
func TestCountdConns(t *testing.T) {
	s, err := parseCountd(t)
	require.NoError(t, err)
	require.LessOrEqual(t, s.conns+spareFiles, 4096)
}

// The ports and sockets of serve countd follow from few flags.
func TestCountdFlags(t *testing.T) {
	for _, c := range []struct {
		args             []string
		port, read       int // 0: no TCP
		socket, readSock string
	}{
		{nil, 48879, 48880, "", ""},
		{[]string{"-p", "7"}, 7, 8, "", ""},
		{[]string{"-p", "-1"}, -1, -1, "", ""},
		{[]string{"-p", "65535", "--read-port", "7"}, 65535, 7, "", ""},
		{[]string{"-s", "/a"}, 0, 0, "/a", "/a.read"},
		{[]string{"-s", "/a", "--read-socket", "/b", "-p", "7"}, 7, 8, "/a", "/b"},
		{[]string{"-s", "/a", "-l", "::1", "--read-port", "7"}, 48879, 7, "/a", "/a.read"},
	} {
		s, err := parseCountd(t, c.args...)
		require.NoError(t, err, c.args)
		require.Equal(t, c.port != 0, len(s.addresses) > 0, c.args)
		if c.port != 0 {
			require.Equal(t, []int{c.port, c.read}, []int{s.port, s.readPort}, c.args)
		}
		require.Equal(t, []string{c.socket, c.readSock}, []string{s.socket, s.readSocket}, c.args)
	}
}
