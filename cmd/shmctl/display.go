package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// lineSignals are the signals that end a verb that prints lines until it is interrupted.
var lineSignals = []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP}

// screenSignals are those that end one on a screen. Without a handler, Go would print stacks
// at the first two and not restore the terminal.
var screenSignals = append([]os.Signal{syscall.SIGQUIT, syscall.SIGABRT}, lineSignals...)

// A display is what a verb shows, and updates.
type display interface {
	look() error                  // gets what is to be shown
	print() error                 // prints it without a screen
	lines(now time.Time) []string // of the screen
	press(key byte) (end bool)    // handles a key on the screen
}

// updates says when a display is updated.
type updates struct {
	interval time.Duration
	count    int // 0: no limit
}

const minInterval = 10 * time.Millisecond

func (u *updates) flags(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&u.interval, "interval", time.Second, "`time` between updates")
	cmd.Flags().IntVar(&u.count, "count", 0, "end after that many updates (0 = no limit)")
}

func (u *updates) check(cmd *cobra.Command) error {
	switch {
	case u.interval < minInterval:
		return usagef("%s: found --interval %v, expected %v or more", verbOf(cmd), u.interval, minInterval)
	case u.count < 0:
		return usagef("%s: found --count %d, expected 0 or more", verbOf(cmd), u.count)
	}
	return nil
}

// show shows a display until the end of the updates, or until a signal or the user ends it: on
// the screen or, if there is none or with --json, in lines.
func (u *updates) show(cmd *cobra.Command, d display) error {
	screen, signals := screenOf(cmd), lineSignals
	if screen != nil {
		signals = screenSignals
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), signals...)
	defer stop()
	var err error
	if screen != nil {
		err = u.onScreen(ctx, screen, d)
	} else {
		err = u.inLines(ctx, d)
	}
	if err == errInterrupted {
		err = fmt.Errorf("%s: %w", verbOf(cmd), err)
	}
	return err
}

// screenOf returns the screen of a command, or nil if it prints lines.
func screenOf(cmd *cobra.Command) *screen {
	if asJSON(cmd) {
		return nil
	}
	return openScreen(cmd.InOrStdin(), cmd.OutOrStdout())
}

// inLines prints the display after each interval.
func (u *updates) inLines(ctx context.Context, d display) error {
	if err := d.look(); err != nil {
		return err
	}
	tick := time.NewTicker(u.interval)
	defer tick.Stop()
	for n := 0; u.count == 0 || n < u.count; n++ {
		select {
		case <-ctx.Done():
			return errInterrupted
		case <-tick.C:
		}
		if err := d.look(); err != nil {
			return err
		}
		if err := d.print(); err != nil {
			return err
		}
	}
	return nil
}

// onScreen shows the display and updates it after each interval, until a key ends it.
func (u *updates) onScreen(ctx context.Context, s *screen, d display) (err error) {
	// A read of a truncated store faults. A panic instead of a crash lets the deferred
	// function restore the terminal.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	if err = d.look(); err != nil {
		return err
	}
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, syscall.SIGWINCH)
	defer signal.Stop(resized)
	if err := s.enter(); err != nil {
		return err
	}
	defer func() {
		if e := s.leave(); err == nil {
			err = e
		}
	}()
	tick := time.NewTicker(u.interval)
	defer tick.Stop()
	keys := s.keys()
	for n := 0; ; {
		if err := s.draw(d.lines(time.Now())); err != nil {
			return err
		}
		if u.count > 0 && n == u.count {
			return nil
		}
		select {
		case <-ctx.Done():
			return errInterrupted
		case key, ok := <-keys:
			if !ok || d.press(key) {
				return nil
			}
		case <-resized:
		case <-tick.C:
			if err = d.look(); err != nil {
				return err
			}
			n++
		}
	}
}

// endKey reports whether a key is one that ends each display: q, Ctrl-C or Ctrl-D.
func endKey(key byte) bool {
	switch key {
	case 'q', 'Q', '\x03', '\x04':
		return true
	}
	return false
}
