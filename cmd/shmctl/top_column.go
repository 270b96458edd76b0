package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
	"github.com/seed-869cc763/shmkv/shm"
)

// topColumn is a column of the table of processes.
type topColumn struct {
	name    string // for --sort
	title   string // in the table
	about   string // in the help
	align   byte   // l or r, as in text.Table
	cell    func(p topProcess, now time.Time) string
	compare func(p, q topProcess) int // negative if p comes before q
	isRate  bool                      // needs two looks
}

// topColumns has at most nine columns, for the keys 1 to 9.
var topColumns = []topColumn{
	{name: "pid", title: "PID", about: "process ID", align: 'r',
		cell:    func(p topProcess, _ time.Time) string { return fmt.Sprint(p.Pid) },
		compare: func(p, q topProcess) int { return cmp.Compare(p.Pid, q.Pid) }},
	{name: "name", title: "NAME", about: "name of the process", align: 'l',
		cell:    func(p topProcess, _ time.Time) string { return text.Printable([]byte(p.Name)) },
		compare: func(p, q topProcess) int { return cmp.Compare(p.Name, q.Name) }},
	{name: "state", title: "STATE", about: "dead, reader or writer", align: 'l',
		cell:    func(p topProcess, _ time.Time) string { return p.state() },
		compare: func(p, q topProcess) int { return cmp.Compare(p.state(), q.state()) }},
	rateColumn("commits", "commits each second", func(r topRates) float64 { return r.Commits }),
	rateColumn("changes", "changes of keys in these commits, each second", func(r topRates) float64 { return r.Changes }),
	rateColumn("lost", "commits each second that another commit overtook", func(r topRates) float64 { return r.Lost }),
	{name: "pins", title: "PINS", about: "number of pinned versions", align: 'r',
		cell:    func(p topProcess, _ time.Time) string { return text.Count(p.Pins) },
		compare: func(p, q topProcess) int { return cmp.Compare(q.Pins, p.Pins) }},
	{name: "behind", title: "BEHIND", about: "number of versions since the oldest pinned one", align: 'r',
		cell:    func(p topProcess, _ time.Time) string { return text.Count(p.Behind) },
		compare: func(p, q topProcess) int { return cmp.Compare(q.Behind, p.Behind) }},
	{name: "pinned", title: "PINNED", about: "age of the oldest snapshot", align: 'l',
		cell: topProcess.pinned,
		compare: func(p, q topProcess) int {
			switch {
			case p.Since != nil && q.Since != nil:
				return p.Since.Compare(*q.Since)
			case p.Since != nil:
				return -1
			case q.Since != nil:
				return 1
			}
			return 0
		}},
}

func rateColumn(name, about string, rate func(topRates) float64) topColumn {
	return topColumn{name: name, title: strings.ToUpper(name) + "/S", about: about, align: 'r', isRate: true,
		cell:    func(p topProcess, _ time.Time) string { return text.Whole(rate(p.PerSecond)) },
		compare: func(p, q topProcess) int { return cmp.Compare(rate(q.PerSecond), rate(p.PerSecond)) }}
}

func (p topProcess) state() string {
	switch {
	case !p.Alive:
		return "dead"
	case p.ReadOnly:
		return "reader"
	}
	return "writer"
}

func (p topProcess) pinned(now time.Time) string {
	if p.Since == nil {
		return "-"
	}
	return text.Ago(*p.Since, now)
}

func (p topProcess) row(now time.Time) (row []string) {
	for _, c := range topColumns {
		row = append(row, c.cell(p, now))
	}
	return row
}

func topColumnNamed(name string) (topColumn, error) {
	for _, c := range topColumns {
		if c.name == name {
			return c, nil
		}
	}
	return topColumn{}, usagef("top: found --sort %q, expected one of %s", name, strings.Join(topColumnNames(), ", "))
}

func topColumnNames() (names []string) {
	for _, c := range topColumns {
		names = append(names, c.name)
	}
	return names
}

// topColumnHelp describes the columns and the keys that sort by them.
func topColumnHelp() string {
	var rows [][]string
	for i, c := range topColumns {
		rows = append(rows, []string{"", fmt.Sprint(i + 1), c.name, c.about})
	}
	var b strings.Builder
	_ = text.Table(&b, "llll", rows...)
	return b.String()
}

// topSortHelp describes the order of the rows.
const topSortHelp = `Numbers are sorted in descending order, except for process IDs. The oldest
snapshot comes first. On the screen a row keeps its place when its numbers
change, and a new process comes last. Press the key of a column to sort the
rows again.`

// topOrder is the order of a store's rows, as handles.
type topOrder []shm.Process

// sort sorts rows. Rows that are in o keep their order. The others follow, sorted by the
// column.
func (o topOrder) sort(rows []topProcess, by topColumn) {
	place := func(p topProcess) int {
		if i := slices.IndexFunc(o, p.handle.Same); i >= 0 {
			return i
		}
		return len(o)
	}
	slices.SortStableFunc(rows, func(p, q topProcess) int {
		return cmp.Or(cmp.Compare(place(p), place(q)), by.compare(p, q), cmp.Compare(p.Pid, q.Pid))
	})
}

func topOrderOf(rows []topProcess) (o topOrder) {
	for _, p := range rows {
		o = append(o, p.handle)
	}
	return o
}
