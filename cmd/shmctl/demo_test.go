package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/demo"
	"github.com/seed-869cc763/shmkv/internal/testproc"
)

func TestDemo(t *testing.T) {
	for _, rounds := range []int{1, 3} {
		dir := filepath.Join(t.TempDir(), "store")
		code, out, stderr := runs("", "demo", "--json", "--dir", dir, "--records", "900", "--rounds", fmt.Sprint(rounds), "--seconds", "5", "--keep")
		require.Equal(t, exitOK, code, stderr)
		require.Empty(t, stderr)
		var r demo.Report
		require.NoError(t, json.Unmarshal([]byte(out), &r))
		require.True(t, r.Sound)
		require.Equal(t, 900, r.Records)
		require.Equal(t, 900, r.Verified)
		require.Equal(t, "writer 2", r.Killed.Process)
		require.Positive(t, r.Killed.Written)
		require.True(t, r.Killed.Adopted == 1 || r.Killed.ByAnother)
		require.Equal(t, 300, r.Killed.Verified)
		require.Equal(t, min(2, rounds), r.Killed.Committed.Round)
		require.Len(t, r.Processes, 6)
		require.Zero(t, r.Ledger.LeakedBytes)
		require.Empty(t, r.Problems)
		require.Empty(t, running(t, dir))

		code, _, stderr = runs("", "check", dir)
		require.Equal(t, exitOK, code, stderr)
		code, out, _ = runs("", "keys", dir)
		require.Equal(t, exitOK, code)
		require.Equal(t, 900, strings.Count(out, "\n"))
	}
}

// running returns the process ids of the demo's processes on a store.
func running(t *testing.T, dir string) (pids []string) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, name := range all {
		line, err := os.ReadFile(name)
		if err == nil && strings.HasPrefix(string(line), "shmctl\x00demo-") && strings.Contains(string(line), dir) {
			pids = append(pids, filepath.Base(filepath.Dir(name)))
		}
	}
	return pids
}

// startDemo starts a long demo and returns when its processes work.
func startDemo(t *testing.T, dir string) (cmd *exec.Cmd, stderr *strings.Builder) {
	t.Helper()
	stderr = &strings.Builder{}
	cmd = exec.Command("shmctl", "demo", "--dir", dir, "--records", "600", "--seconds", "60")
	cmd.Stderr = stderr
	testproc.Start(t, cmd)
	require.Eventually(t, func() bool {
		s, err := openToRead(dir)
		if err != nil {
			return false
		}
		defer func() { _ = s.Close() }()
		return s.Len() > 0
	}, 20*time.Second, 10*time.Millisecond)
	require.NotEmpty(t, running(t, dir))
	return cmd, stderr
}

func TestDemoInterrupted(t *testing.T) {
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		dir := filepath.Join(t.TempDir(), "store")
		cmd, stderr := startDemo(t, dir)
		require.NoError(t, cmd.Process.Signal(sig))
		var exit *exec.ExitError
		require.ErrorAs(t, cmd.Wait(), &exit)
		require.Equal(t, exitInterrupted, exit.ExitCode())
		require.Equal(t, "shmctl: demo: interrupted\n", stderr.String())
		require.NoDirExists(t, dir)
		require.Empty(t, running(t, dir))
	}
}

// When the demo is killed, all its processes die, and the store is sound.
func TestDemoKilled(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	cmd, _ := startDemo(t, dir)
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	require.Eventually(t, func() bool { return len(running(t, dir)) == 0 }, 10*time.Second, 10*time.Millisecond)
	code, out, stderr := runs("", "check", dir)
	require.Equal(t, exitOK, code, stderr)
	require.Regexp(t, `(?m)^leaked +0 B `, out)
}

// A demo removes the temporary store of a demo that was killed, but not one that is in
// use.
func TestDemoAfterKilledOne(t *testing.T) {
	launch := func(args ...string) (cmd *exec.Cmd, dir string) {
		cmd = exec.Command("shmctl", append([]string{"demo", "--records", "60", "--writers", "1", "--readers", "0"}, args...)...)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		testproc.Start(t, cmd)
		lines := bufio.NewScanner(out)
		for dir == "" && lines.Scan() {
			if fields := strings.Fields(lines.Text()); len(fields) == 2 && fields[0] == "store" {
				dir = fields[1]
			}
		}
		require.DirExists(t, dir)
		go func() { _, _ = io.Copy(io.Discard, out) }()
		return cmd, dir
	}
	killed, left := launch("--seconds", "60")
	using, used := launch("--seconds", "60")
	require.NoError(t, killed.Process.Kill())
	_ = killed.Wait()
	require.DirExists(t, left)
	last, dir := launch("--rounds", "1")
	require.NoError(t, last.Wait())
	require.NoDirExists(t, left)
	require.NoDirExists(t, dir)
	require.DirExists(t, used)
	require.NoError(t, using.Process.Signal(os.Interrupt))
	require.Error(t, using.Wait())
	require.NoDirExists(t, used)
}
