// The race detector sees nothing of a mapping, and slows processes down.

//go:build !race

package record

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A child is a process of the test binary. It dies with its parent.
type child struct {
	cmd    *exec.Cmd
	output bytes.Buffer
	done   chan struct{}
	err    error // of Wait, once done is closed
}

func setting(name string) string { return os.Getenv("SHMKV_RECORD_TEST_" + name) }

// must is for a child's errors.
func must(err error) {
	if err != nil {
		failChild("%v", err)
	}
}

// failChild ends a child that has found a fault.
func failChild(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "child: "+format+"\n", args...)
	os.Exit(3)
}

// startChild starts a child, whose standard output is appended to the file log.
func startChild(t testing.TB, name, log string, set map[string]string) *child {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	require.NoError(t, err)
	defer out.Close()
	c := &child{cmd: exec.Command(exe), done: make(chan struct{})}
	c.cmd.Env = append(os.Environ(), childEnv+"="+name)
	for k, v := range set {
		c.cmd.Env = append(c.cmd.Env, "SHMKV_RECORD_TEST_"+k+"="+v)
	}
	c.cmd.Stdout, c.cmd.Stderr = out, &c.output
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	// The kernel sends that signal when the thread that forked ends: this one does not.
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := c.cmd.Start()
		started <- err
		if err == nil {
			c.err = c.cmd.Wait()
		}
		close(c.done)
	}()
	require.NoError(t, <-started)
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill()
		<-c.done
	})
	return c
}

// kill kills a child, which must not have ended by itself.
func (c *child) kill(t testing.TB) {
	t.Helper()
	_ = c.cmd.Process.Kill()
	select {
	case <-c.done:
	case <-time.After(120 * time.Second):
		t.Fatal("a killed child did not end within 120 s")
	}
	var exit *exec.ExitError
	require.True(t, errors.As(c.err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL,
		"%v: %.6000s", c.err, c.output.String())
}

// linesOf returns the whole lines of a log.
func linesOf(t testing.TB, log string) []string {
	t.Helper()
	b, err := os.ReadFile(log)
	require.NoError(t, err)
	lines := strings.SplitAfter(string(b), "\n")
	return lines[:len(lines)-1]
}

func number(s string) int {
	n, err := strconv.Atoi(strings.TrimSpace(s))
	must(err)
	return n
}
