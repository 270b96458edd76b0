package main

import (
	"io"
	"os"
	"strings"

	"github.com/rivo/uniseg"
	"golang.org/x/term"
)

// screen is a terminal that is filled by lines of text.
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
		var f keyFilter
		for {
			if n, err := s.in.Read(b[:]); err != nil || n == 0 {
				close(keys)
				return
			}
			if f.passes(b[0]) {
				keys <- b[0]
			}
		}
	}()
	return keys
}

const keyEscape = '\x1b'

// keyFilter lets through one byte of each key, escape for those that terminals send
// as several bytes. Otherwise F2, which is ESC O Q, would be taken for Q.
type keyFilter struct {
	state byte // what the bytes before began: 0, keyEscape, 'O' or '['
}

func (f *keyFilter) passes(b byte) bool {
	was := f.state
	f.state = 0
	switch {
	case b == keyEscape:
		f.state = keyEscape
		return true
	case b < ' ': // never part of a longer key
		return true
	case was == keyEscape && (b == 'O' || b == '['):
		f.state = b
		return false
	case was == 'O':
		return false
	case was == '[':
		if b < '@' { // the last byte is a letter or one of those beside them
			f.state = '['
		}
		return false
	}
	return true
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
		lines[i] = screenLine + cut(line, width) // behind a full line nothing may be erased: it would be its end
	}
	_, err = io.WriteString(s.out, screenHome+strings.Join(lines, "\r\n")+rest)
	return err
}

// cut returns as much of a line as fits into a width.
func cut(line string, width int) string {
	for g := uniseg.NewGraphemes(line); g.Next(); {
		if width -= g.Width(); width < 0 {
			from, _ := g.Positions()
			return line[:from]
		}
	}
	return line
}
