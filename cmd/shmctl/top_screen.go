package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
)

// screenSignals are the signals that end top on a screen. Without a handler, Go would
// print stacks at the first two and not restore the terminal.
var screenSignals = append([]os.Signal{syscall.SIGQUIT, syscall.SIGABRT}, lineSignals...)

// topView is the contents of the screen.
type topView struct {
	*top
	shown []topLook
	help  bool
}

// onScreen shows a look after each interval until the user types q, Ctrl-C or Ctrl-D.
func (t *top) onScreen(ctx context.Context, s *screen) (err error) {
	// A read of a truncated store faults. A panic instead of a crash lets the deferred
	// function restore the terminal.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	t.keepPlaces = true
	v := topView{top: t}
	if v.shown, err = t.looks(); err != nil {
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
	tick := time.NewTicker(t.interval)
	defer tick.Stop()
	keys := s.keys()
	for n := 0; ; {
		if err := s.draw(v.lines(time.Now())); err != nil {
			return err
		}
		if t.count > 0 && n == t.count {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("top: %w", errInterrupted)
		case key, ok := <-keys:
			if !ok || v.press(key) {
				return nil
			}
		case <-resized:
		case <-tick.C:
			if v.shown, err = t.looks(); err != nil {
				return err
			}
			n++
		}
	}
}

// press handles a key and reports whether it ends top.
func (v *topView) press(key byte) (end bool) {
	column := int(key) - '1'
	switch {
	case strings.ContainsRune("qQ\x03\x04", rune(key)):
		return true
	case v.help:
		v.help = false
	case key == '?':
		v.help = true
	case column >= 0 && column < len(topColumns):
		v.by = topColumns[column]
		for i, s := range v.stores {
			s.order = nil
			v.arrange(s, v.shown[i])
		}
	}
	return false
}

// lines returns the lines of the screen.
func (v *topView) lines(now time.Time) []string {
	if v.help {
		return topHelp()
	}
	lines := []string{fmt.Sprintf("shmctl top  %s  every %v, sorted by %s, ? help, q quit", now.Format(time.TimeOnly), v.interval, v.by.name)}
	titles, align := []string{}, ""
	for _, c := range topColumns {
		titles, align = append(titles, c.title), align+string(c.align)
	}
	for _, l := range v.shown {
		lines = append(lines, "",
			fmt.Sprintf("%s  version %s  %s entries", text.Printable([]byte(l.Path)), text.Count(l.Stats.Version), text.Count(l.Stats.Entries)),
			"  "+l.rates(), "  "+l.space(), "  "+l.reclaim())
		rows := [][]string{titles}
		for _, p := range l.Processes {
			rows = append(rows, p.row(l.Time))
		}
		var b strings.Builder
		_ = text.Table(&b, align, rows...)
		for line := range strings.Lines(b.String()) {
			lines = append(lines, "  "+strings.TrimSuffix(line, "\n"))
		}
	}
	return lines
}

// topHelp returns the lines of the help screen.
func topHelp() []string {
	return strings.Split(`Keys of shmctl top

  q  quit, as Ctrl-C does
  ?  show this help; any other key except q closes it

Keys that sort the processes by a column:

`+topColumnHelp()+"\n"+topSortHelp, "\n")
}
