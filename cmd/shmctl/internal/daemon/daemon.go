// Package daemon has what a server needs of its process and of the system: it detaches from
// its terminal, has a file with its number, listens on sockets, and changes its limits and its
// user. It knows no protocol and no store.
//
// The order of the steps at the start of a server matters: Detach first, because it starts
// another process; limits and TCP ports while the process may be root's; then Become; and then
// all files, which belong to that user.
package daemon

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// readyVariable has the number of the descriptor by which a daemon tells that it is ready.
const readyVariable = "SHMCTL_DAEMON_READY"

// ready is the pipe to the process that waits for this one to be ready, or nil.
var ready = sync.OnceValue(func() *os.File {
	value, ok := os.LookupEnv(readyVariable)
	if !ok {
		return nil
	}
	_ = os.Unsetenv(readyVariable) // not for the processes that this one starts
	fd, err := strconv.Atoi(value)
	var st unix.Stat_t
	if err != nil || unix.Fstat(fd, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
		return nil
	}
	unix.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), "ready")
})

// Detached reports whether this process is a daemon that Detach has started.
func Detached() bool { return ready() != nil }

// An ExitError is the end of a daemon that was not ready yet. It has printed the reason.
type ExitError struct{ Code int }

func (e *ExitError) Error() string {
	return fmt.Sprintf("the daemon has ended with exit code %d before it was ready", e.Code)
}

// Detach starts this program again, with the same arguments, in a session of its own and
// without standard input. It returns when that process has called Ready, or with an ExitError
// when it has ended before.
func Detach() error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	cmd := &exec.Cmd{
		Path:        "/proc/self/exe", // also if the file was replaced
		Args:        os.Args,
		Env:         append(os.Environ(), readyVariable+"=3"),
		Stdout:      os.Stdout,
		Stderr:      os.Stderr,
		ExtraFiles:  []*os.File{w}, // the descriptor 3
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	err = cmd.Start()
	_ = w.Close()
	if err != nil {
		return fmt.Errorf("starting a daemon: %w", err)
	}
	if _, err := io.ReadFull(r, make([]byte, 1)); err == nil {
		return cmd.Process.Release()
	}
	err = cmd.Wait()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		return &ExitError{exitCode(exit.ProcessState)}
	}
	if err == nil {
		return &ExitError{1}
	}
	return err
}

// exitCode returns the code of a process as shells do.
func exitCode(p *os.ProcessState) int {
	if st, ok := p.Sys().(syscall.WaitStatus); ok && st.Signaled() {
		return 128 + int(st.Signal())
	}
	return p.ExitCode()
}

// Ready tells the process that has called Detach that this one is ready. From then on this
// process is in the root directory, and unless keepOutput is set, its output is discarded.
// In a process that is no daemon, Ready does nothing.
func Ready(keepOutput bool) error {
	w := ready()
	if w == nil {
		return nil
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	if !keepOutput {
		null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer func() { _ = null.Close() }()
		for _, fd := range []int{1, 2} {
			if err := unix.Dup3(int(null.Fd()), fd, 0); err != nil {
				return &os.PathError{Op: "dup3", Path: os.DevNull, Err: err}
			}
		}
	}
	_, err := w.Write([]byte{1})
	if errors.Is(err, syscall.EPIPE) { // it was killed, and nobody waits
		err = nil
	}
	return errors.Join(err, w.Close())
}
