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

// A child is a process at work on a task. It waits, ready, until it is released.
type child struct {
	cmd   *exec.Cmd
	in    io.Closer
	lines *json.Decoder
}

// start starts a child and returns when it is ready: everything that is not timed is done. The error is
// errUnsupported if the peer cannot do the work.
func start(ctx context.Context, p peer, t task) (*child, error) {
	cmd := exec.CommandContext(ctx, p.command[0], append(p.command[1:len(p.command):len(p.command)], t.args()...)...)
	cmd.Stderr = os.Stderr
	// A signal of the terminal is for the bench, which ends its children.
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

// release starts the child's clock, or lets a holder go.
func (c *child) release() { c.in.Close() }

// wait returns what the released child measured.
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

// failed ends a child that did not say what it should have, and tells why.
func (c *child) failed(err error) error {
	c.in.Close()
	if exit := c.cmd.Wait(); exit != nil {
		return exit // it has said why on stderr
	}
	return fmt.Errorf("unexpected answer: %w", err)
}

// end ends a child whose context is over, if nobody has waited for it.
func (c *child) end() {
	c.in.Close()
	if c.cmd.ProcessState == nil {
		c.cmd.Wait() // it was killed, or has failed and said why
	}
}

// interrupted reports whether a child was ended by a signal that a terminal or a user sends.
func interrupted(err error) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	status := exit.Sys().(syscall.WaitStatus)
	return status.Signaled() && (status.Signal() == syscall.SIGINT || status.Signal() == syscall.SIGTERM)
}

// run carries out a task in a child, from beginning to end.
func run(ctx context.Context, p peer, t task) (result, error) {
	c, err := start(ctx, p, t)
	if err != nil {
		return result{}, err
	}
	c.release()
	return c.wait()
}
