package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
)

// A child is a process that executes a task. When it is ready it waits for release.
type child struct {
	cmd   *exec.Cmd
	in    io.Closer
	lines *json.Decoder
}

// start starts a child and returns when the child has done everything that is not timed. It returns errUnsupported if
// the peer cannot do the work.
func start(ctx context.Context, p peer, t task) (*child, error) {
	cmd := exec.CommandContext(ctx, p.command[0], append(p.command[1:len(p.command):len(p.command)], t.args()...)...)
	cmd.Stderr = os.Stderr
	// Only the bench gets signals of the terminal. It ends its children.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &child{cmd, in, json.NewDecoder(out)}
	var r result
	if err := c.lines.Decode(&r); err != nil {
		return nil, c.failed(err)
	}
	if r.Unsupported {
		c.in.Close()
		return nil, errors.Join(errUnsupported, c.cmd.Wait())
	}
	if !r.Ready {
		return nil, c.failed(fmt.Errorf("a result before it was asked to start"))
	}
	return c, nil
}

// release starts the child's clock, or ends a child that holds a snapshot or serves.
func (c *child) release() { c.in.Close() }

// wait returns the result of the released child.
func (c *child) wait() (result, error) {
	var r result
	if err := c.lines.Decode(&r); err != nil {
		return r, c.failed(err)
	}
	err := c.cmd.Wait()
	if r.Unsupported {
		err = errors.Join(errUnsupported, err)
	}
	return r, err
}

// failed ends a child whose output is wrong, and returns the error.
func (c *child) failed(err error) error {
	c.in.Close()
	if exit := c.cmd.Wait(); exit != nil {
		return exit // the child has printed the reason to stderr
	}
	return fmt.Errorf("unexpected answer: %w", err)
}

// end ends a child if nobody has waited for it. Its context must be done.
func (c *child) end() {
	c.in.Close()
	if c.cmd.ProcessState == nil {
		c.cmd.Wait() // it was killed, or has failed and printed the reason
	}
}

// kill ends a child that is ready, at once.
func (c *child) kill() error {
	err := c.cmd.Process.Kill()
	c.end()
	return err
}

// interrupted reports whether a signal that a terminal or user sends has ended a child.
func interrupted(err error) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	status := exit.Sys().(syscall.WaitStatus)
	return status.Signaled() && (status.Signal() == syscall.SIGINT || status.Signal() == syscall.SIGTERM)
}

// run executes a task in a child and returns the result.
func run(ctx context.Context, p peer, t task) (result, error) {
	c, err := start(ctx, p, t)
	if err != nil {
		return result{}, err
	}
	c.release()
	return c.wait()
}
