// Package exampletest runs the examples as processes, for their tests: the test binary
// of an example is the example itself where an environment variable says so, in the
// processes that it starts too.
package exampletest

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
)

const programEnv = "SHMKV_EXAMPLE"

// Patience is how long a test waits for what should happen soon.
const Patience = 20 * time.Second

// Main is the TestMain of an example whose function main is given.
func Main(m *testing.M, main func()) {
	if os.Getenv(programEnv) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(testdir.Main(m))
}

// A Process is a run of the example.
type Process struct {
	t      *testing.T
	cmd    *exec.Cmd
	stderr strings.Builder
	stdout *io.PipeWriter
	lines  chan string // of stdout
}

// Start runs the example with args. It is killed when the test ends.
func Start(t *testing.T, args ...string) *Process {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	r, w := io.Pipe()
	p := &Process{t: t, cmd: exec.Command(exe, args...), stdout: w, lines: make(chan string, 1000)}
	// The race detector lets a process sleep before it ends, unless it is told not to.
	p.cmd.Env = append([]string{"GORACE=atexit_sleep_ms=0"}, os.Environ()...)
	p.cmd.Env = append(p.cmd.Env, programEnv+"=1")
	p.cmd.Stdout, p.cmd.Stderr = w, &p.stderr
	p.cmd.WaitDelay = time.Second // a child that outlives it may keep the pipes open
	require.NoError(t, p.cmd.Start())
	go func() {
		defer close(p.lines)
		for s := bufio.NewScanner(r); s.Scan(); {
			p.lines <- s.Text()
		}
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		_ = p.wait()
	})
	return p
}

// Line returns the next line of standard output.
func (p *Process) Line() string {
	p.t.Helper()
	select {
	case line, ok := <-p.lines:
		require.True(p.t, ok, "the program has printed all")
		return line
	case <-time.After(Patience):
		_ = p.cmd.Process.Kill()
		_ = p.wait()
		require.FailNow(p.t, "the program prints nothing more", p.stderr.String())
		return ""
	}
}

// Signal sends a signal to the process.
func (p *Process) Signal(sig syscall.Signal) {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(sig))
}

// End waits for the process, which must succeed, and returns what it has printed since
// the last Line.
func (p *Process) End() string {
	p.t.Helper()
	err := p.wait()
	require.NoError(p.t, err, p.stderr.String())
	return p.Rest()
}

// Rest returns what a process that has ended has printed since the last Line.
func (p *Process) Rest() string {
	var rest strings.Builder
	for line := range p.lines {
		rest.WriteString(line + "\n")
	}
	return rest.String()
}

// Fail waits for the process, which must fail, and returns what it says of that.
func (p *Process) Fail() string {
	p.t.Helper()
	require.Error(p.t, p.wait())
	return p.stderr.String()
}

// Stderr returns what the process has said on standard error, once it has ended.
func (p *Process) Stderr() string { return p.stderr.String() }

func (p *Process) wait() error {
	timeout := time.AfterFunc(Patience, func() { _ = p.cmd.Process.Kill() })
	defer timeout.Stop()
	err := p.cmd.Wait()
	_ = p.stdout.Close()
	return err
}

// Run runs the example to its end, which must be a success, and returns what it prints.
func Run(t *testing.T, args ...string) string {
	t.Helper()
	return Start(t, args...).End()
}

// LeavesNothing checks in the end of the test that the example has removed what it made
// with names that match pattern. Other runs of the example may have the like for a while.
func LeavesNothing(t *testing.T, pattern string) {
	t.Helper()
	before, err := filepath.Glob(pattern)
	require.NoError(t, err)
	t.Cleanup(func() {
		var after []string
		for end := time.Now().Add(Patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			after, err = filepath.Glob(pattern)
			require.NoError(t, err)
			after = slices.DeleteFunc(after, func(name string) bool { return slices.Contains(before, name) })
			if len(after) == 0 {
				return
			}
		}
		require.Empty(t, after, "the program has left this behind")
	})
}
