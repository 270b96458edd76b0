package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
)

// screen is a terminal that top fills.
type screen struct {
	in, out *os.File
	old     *term.State
}

// openScreen returns nil if either of the two is no terminal.
func openScreen(in io.Reader, out io.Writer) *screen {
	if !isTerminal(in) || !isTerminal(out) {
		return nil
	}
	return &screen{in: in.(*os.File), out: out.(*os.File)}
}

// What terminals do when they are sent these.
const (
	screenEnter = "\x1b[?1049h\x1b[?25l" // the other screen, no cursor
	screenLeave = "\x1b[?25h\x1b[?1049l"
	screenHome  = "\x1b[H"
	screenLine  = "\x1b[K" // erase the line, from its begin
	screenRest  = "\x1b[J" // and all below, too
)

// enter begins to read keys as they come and to draw. What leave restores, a
// shell could not go on without.
func (s *screen) enter() (err error) {
	if s.old, err = term.MakeRaw(int(s.in.Fd())); err != nil {
		return err
	}
	if _, err = io.WriteString(s.out, screenEnter); err != nil {
		_ = s.leave()
	}
	return err
}

func (s *screen) leave() error {
	_, err := io.WriteString(s.out, screenLeave)
	if e := term.Restore(int(s.in.Fd()), s.old); err == nil {
		err = e
	}
	return err
}

// keys returns what is typed. The goroutine that reads it ends with the process.
func (s *screen) keys() <-chan byte {
	keys := make(chan byte)
	go func() {
		var b [1]byte
		for {
			if n, err := s.in.Read(b[:]); err != nil || n == 0 {
				close(keys)
				return
			}
			keys <- b[0]
		}
	}()
	return keys
}

// draw shows as much of the lines as there is room for.
func (s *screen) draw(lines []string) error {
	width, height, err := term.GetSize(int(s.out.Fd()))
	if err != nil {
		return err
	}
	rest := ""
	if len(lines) < height {
		rest = "\r\n" + screenRest
	}
	lines = lines[:min(len(lines), height)]
	for i, line := range lines {
		if utf8.RuneCountInString(line) > width {
			line = string([]rune(line)[:width])
		}
		lines[i] = screenLine + line // behind a full line nothing may be erased: it would be its end
	}
	_, err = io.WriteString(s.out, screenHome+strings.Join(lines, "\r\n")+rest)
	return err
}

// onScreen shows a look each interval until q, Ctrl-C or the end of the input
// is typed.
func (t *top) onScreen(ctx context.Context, s *screen) (err error) {
	shown, err := t.looks()
	if err != nil {
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
		if err := s.draw(t.lines(shown, time.Now())); err != nil {
			return err
		}
		if t.count > 0 && n == t.count {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("top: %w", errInterrupted)
		case key, ok := <-keys:
			if !ok || strings.ContainsRune("qQ\x03\x04", rune(key)) {
				return nil
			}
		case <-resized:
		case <-tick.C:
			if shown, err = t.looks(); err != nil {
				return err
			}
			n++
		}
	}
}

// lines is what the screen shows.
func (t *top) lines(shown []topLook, now time.Time) []string {
	lines := []string{fmt.Sprintf("shmctl top  %s  every %v, q quits", now.Format(time.TimeOnly), t.interval)}
	for _, l := range shown {
		lines = append(lines, "",
			fmt.Sprintf("%s  version %s  %s entries", l.Path, text.Count(l.Stats.Version), text.Count(l.Stats.Entries)),
			"  "+l.rates(), "  "+l.space(), "  "+l.reclaim())
		rows := [][]string{processColumns.names}
		for _, p := range l.Processes {
			rows = append(rows, p.row(l.Time))
		}
		var b strings.Builder
		_ = text.Table(&b, processColumns.align, rows...)
		for line := range strings.Lines(b.String()) {
			lines = append(lines, "  "+strings.TrimSuffix(line, "\n"))
		}
	}
	return lines
}
