package main

import (
	"io"
	"os"
	"strings"

	"github.com/rivo/uniseg"
	"golang.org/x/term"
)

// screen is a terminal that shows lines of text on the whole screen.
type screen struct {
	in, out *os.File
	old     *term.State
}

// openScreen returns nil if in or out is no terminal.
func openScreen(in io.Reader, out io.Writer) *screen {
	if !isTerminal(in) || !isTerminal(out) {
		return nil
	}
	return &screen{in: in.(*os.File), out: out.(*os.File)}
}

// Control sequences of terminals.
const (
	screenEnter = "\x1b[?1049h\x1b[?25l" // alternate screen, no cursor
	screenLeave = "\x1b[?25h\x1b[?1049l" // normal screen, cursor
	screenHome  = "\x1b[H"               // cursor to the top left
	screenLine  = "\x1b[K"               // erase to the end of the line
	screenRest  = "\x1b[J"               // erase to the end of the screen
)

// enter switches the terminal to raw mode and to the alternate screen. Call leave
// afterwards, because a shell needs the normal mode.
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

// keys returns a channel of typed keys. Its goroutine runs until the input or the process
// ends.
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

// keyFilter passes one byte of each key. For a key that terminals send as several bytes
// it passes only the escape. Otherwise top would take F2, which is ESC O Q, for Q.
type keyFilter struct {
	state byte // the sequence so far: 0 (none), keyEscape, 'O' or '['
}

func (f *keyFilter) passes(b byte) bool {
	was := f.state
	f.state = 0
	switch {
	case b == keyEscape:
		f.state = keyEscape
		return true
	case b < ' ': // never part of a sequence
		return true
	case was == keyEscape && (b == 'O' || b == '['):
		f.state = b
		return false
	case was == 'O':
		return false
	case was == '[':
		if b < '@' { // the last byte of a sequence is from '@' on
			f.state = '['
		}
		return false
	}
	return true
}

// draw shows the lines, cut to the size of the terminal.
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
		lines[i] = screenLine + cut(line, width) // erase first: after a full line it would erase the last character
	}
	_, err = io.WriteString(s.out, screenHome+strings.Join(lines, "\r\n")+rest)
	return err
}

// cut returns the beginning of a line that fits into width columns.
func cut(line string, width int) string {
	for g := uniseg.NewGraphemes(line); g.Next(); {
		if width -= g.Width(); width < 0 {
			from, _ := g.Positions()
			return line[:from]
		}
	}
	return line
}
