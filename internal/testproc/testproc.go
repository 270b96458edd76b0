// Package testproc runs the test binary again as other processes, for tests that kill and stop them.
// A package names the functions that such a child may be:
//
//	var children = map[string]func(){"writer": write}
//
//	func TestMain(m *testing.M) {
//		testproc.RunChild(children)
//		os.Exit(testdir.Main(m))
//	}
//
// and starts one by testproc.StartChild(t, testproc.Command(t, "writer", path)).
package testproc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// childEnv names what the test binary is to be when it runs as a child.
const childEnv = "SHMKV_TEST_CHILD"

// RunChild returns if this process is no child. Otherwise it runs the child's function and ends the
// process, with exit code 0.
func RunChild(children map[string]func()) {
	name := os.Getenv(childEnv)
	if name == "" {
		return
	}
	run := children[name]
	if run == nil {
		fmt.Fprintf(os.Stderr, "no child is called %q\n", name)
		os.Exit(2)
	}
	run()
	os.Exit(0)
}

// Command returns a command that runs the test binary as a child of this name, with arguments that it
// finds in os.Args.
func Command(t testing.TB, name string, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, args...)
	cmd.Env = append(os.Environ(), childEnv+"="+name)
	return cmd
}

// Start starts a process that ends with the test, even if this process is killed. The caller may wait
// for it.
func Start(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	end, err := start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // unless the test has already waited
		end()
	})
}

// start starts a process that is killed when this one ends, or when end is called.
func start(cmd *exec.Cmd) (end func(), err error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	started, ended := make(chan error), make(chan struct{})
	go func() {
		// The kernel sends that signal when the thread that forked ends. This one does not before.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		started <- cmd.Start()
		<-ended
	}()
	if err := <-started; err != nil {
		close(ended)
		return nil, err
	}
	return func() { close(ended) }, nil
}

// A Child is a process whose end a test observes.
type Child struct {
	*exec.Cmd
	Output bytes.Buffer  // of standard error, and of standard output if the command has no other; read it after the end
	Done   chan struct{} // closed at the end
	Err    error         // of the process, after that
	Killed bool          // a kill is no bad end
}

// StartChild starts a process that ends with the test, and waits for its end in the background.
func StartChild(t testing.TB, cmd *exec.Cmd) *Child {
	t.Helper()
	c := &Child{Cmd: cmd, Done: make(chan struct{})}
	if cmd.Stderr == nil {
		cmd.Stderr = &c.Output
	}
	if cmd.Stdout == nil {
		cmd.Stdout = cmd.Stderr
	}
	Start(t, cmd)
	go func() {
		c.Err = cmd.Wait()
		close(c.Done)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-c.Done
	})
	return c
}

// Kill kills the child and waits for it.
func (c *Child) Kill(t testing.TB) {
	t.Helper()
	c.Killed = true
	_ = c.Process.Kill()
	c.Wait(t)
}

// Wait waits for the end of the child, and fails the test if it was anything but exit code 0, or a kill
// if there was one.
func (c *Child) Wait(t testing.TB) {
	t.Helper()
	select {
	case <-c.Done:
	case <-time.After(patience):
		_ = c.Process.Signal(syscall.SIGQUIT) // for the stacks
		select {
		case <-c.Done:
			t.Fatalf("a child did not end within %v: %s", patience, c.Text())
		case <-time.After(patience): // it is stopped, and its output still its own
			t.Fatalf("a child did not end within %v", patience)
		}
	}
	if err := c.badEnd(); err != nil {
		t.Fatalf("a child ended badly: %v: %s", err, c.Text())
	}
}

// patience is how long a child may take to end.
const patience = time.Minute

// badEnd returns the error of a child that has ended, unless it was killed as it should be.
func (c *Child) badEnd() error {
	if exit, ok := errors.AsType[*exec.ExitError](c.Err); ok && c.Killed && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL {
		return nil
	}
	return c.Err
}

// Text returns the beginning of what the child has written. It must have ended.
func (c *Child) Text() string {
	s := c.Output.String()
	return s[:min(len(s), 6000)]
}
