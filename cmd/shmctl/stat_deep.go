package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
	"github.com/seed-869cc763/shmkv/shm"
)

// statDeep is the additional result of stat --deep.
type statDeep struct {
	shm.Report
	Processes []shm.Process `json:"processes"` // without this command

	checkpoint uint64 // its version
}

func lookDeep(ctx context.Context, s *shm.Store, checkpoint uint64) (*statDeep, error) {
	rep, err := s.Check(ctx, nil)
	if err != nil {
		return nil, err
	}
	d := &statDeep{Report: *rep, Processes: []shm.Process{}, checkpoint: checkpoint}
	all, err := s.Inspect().Processes()
	if err != nil && !errors.Is(err, shm.ErrReadOnly) { // without permission Processes is empty
		return nil, err
	}
	for _, p := range all {
		if !p.Self {
			d.Processes = append(d.Processes, p)
		}
	}
	return d, nil
}

func (d *statDeep) print(w io.Writer, now time.Time) error {
	sections := []struct {
		title, align string
		rows         [][]string
	}{
		{fmt.Sprintf("each byte of the file, at version %s", text.Count(d.Version)), "lrl", text.Ledger(d.Report)},
		{"held for pins", "rl", d.held(now)},
		{"entries and branches by the branches above them", "rrr", d.depths()},
		{"branches by their children", "lrr", d.children()},
		{"blocks by size", "rrrrrrr", d.classes()},
	}
	for _, s := range sections {
		if _, err := fmt.Fprintf(w, "\n%s:\n", s.title); err != nil {
			return err
		}
		if err := text.Table(w, s.align, s.rows...); err != nil {
			return err
		}
	}
	return nil
}

// held returns the space that each pinned version holds, and the processes that pin it.
func (d *statDeep) held(now time.Time) [][]string {
	rows := [][]string{}
	for _, h := range d.Held {
		who := ""
		if h.Version == d.checkpoint {
			who = "; the last checkpoint"
		}
		for _, p := range d.Processes {
			for _, pin := range p.Pins {
				if pin.Version == h.Version {
					who += fmt.Sprintf("; %s (pid %d), %s", text.Printable([]byte(p.Name)), p.Pid, pinKind(pin, now))
				}
			}
		}
		if who == "" {
			who = "; nobody any more: it will be freed"
		}
		rows = append(rows, []string{text.Size(h.Bytes), fmt.Sprintf("by version %s%s", text.Count(h.Version), who)})
	}
	if len(rows) == 0 {
		rows = append(rows, []string{"nothing", ""})
	}
	return rows
}

func (d *statDeep) depths() [][]string {
	rows := [][]string{{"DEPTH", "ENTRIES", "BRANCHES"}}
	at := func(counts []int64, i int) int64 {
		if i < len(counts) {
			return counts[i]
		}
		return 0
	}
	for i := range max(len(d.Trie.Leaves), len(d.Trie.Branches)) {
		rows = append(rows, []string{fmt.Sprint(i), text.Count(at(d.Trie.Leaves, i)), text.Count(at(d.Trie.Branches, i))})
	}
	return rows
}

// children groups the branches by their number of children, in powers of two.
func (d *statDeep) children() [][]string {
	var sum int64
	for _, n := range d.Trie.Children {
		sum += n
	}
	rows := [][]string{{"CHILDREN", "BRANCHES", ""}}
	for low := 1; low < len(d.Trie.Children); low *= 2 {
		high := min(2*low, len(d.Trie.Children))
		var n int64
		for _, k := range d.Trie.Children[low:high] {
			n += k
		}
		label := fmt.Sprint(low)
		if last := min(2*low-1, 64); last > low {
			label = fmt.Sprintf("%d to %d", low, last)
		}
		rows = append(rows, []string{label, text.Count(n), fmt.Sprintf("%.1f %%", 100*float64(n)/float64(sum))})
	}
	return rows
}

func (d *statDeep) classes() [][]string {
	rows := [][]string{{"BLOCK", "SLABS", "SPACE", "BLOCKS", "IN USE", "WITH WRITERS", "FREE"}}
	for _, c := range d.Classes {
		label := text.Count(c.Size) + " B"
		if c.Size == 0 {
			label = "runs"
		}
		rows = append(rows, []string{label, text.Count(c.Slabs), text.Size(c.Bytes), text.Count(c.Blocks),
			text.Count(c.Blocks - c.Free - c.Cached), text.Count(c.Cached), text.Count(c.Free)})
	}
	return rows
}
