package main

import (
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// A progressLine shows the progress of a verb on a terminal.
type progressLine struct {
	show func(done, total int64) // nil without a terminal
	bar  *progressbar.ProgressBar
}

func newProgress(w io.Writer, verb string) *progressLine {
	p := &progressLine{}
	if !isTerminal(w) {
		return p
	}
	p.show = func(done, total int64) {
		if p.bar == nil {
			p.bar = progressbar.NewOptions64(total, progressbar.OptionSetWriter(w), progressbar.OptionSetDescription(verb),
				progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
		}
		_ = p.bar.Set64(done)
	}
	return p
}

// isTerminal reports whether stream is a terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// clear erases the line.
func (p *progressLine) clear() {
	if p.bar != nil {
		_ = p.bar.Clear()
	}
}
