package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
)

// topView is the display of top.
type topView struct {
	*top
	printLook func(topLook) error
	shown     []topLook
	help      bool
}

// look looks at all stores.
func (v *topView) look() (err error) {
	v.shown, err = v.looks()
	return err
}

// print prints the looks.
func (v *topView) print() error {
	for _, l := range v.shown {
		if err := v.printLook(l); err != nil {
			return err
		}
	}
	return nil
}

// press handles a key and reports whether it ends top.
func (v *topView) press(key byte) (end bool) {
	column := int(key) - '1'
	switch {
	case endKey(key):
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
		for _, line := range l.servers() {
			lines = append(lines, "  "+line)
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
