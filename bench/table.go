package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// writeJSON writes the report as JSON.
func (r *report) writeJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// writeTables writes the report as tables.
func (r *report) writeTables(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, r.Machine)
	if len(r.Speed) > 0 {
		r.writeSpeed(t)
	}
	if len(r.Space) > 0 {
		r.writeSpace(t)
	}
	if r.Incomplete != "" {
		fmt.Fprintf(t, "\nNOT COMPLETE: %s\n", r.Incomplete)
	}
	for _, s := range r.Skipped {
		fmt.Fprintln(t, "skipped:", s)
	}
	for _, f := range r.Failed {
		fmt.Fprintln(t, "FAILED:", f)
	}
	return t.Flush()
}

func (r *report) writeSpeed(w io.Writer) {
	fmt.Fprintf(w, "\nSpeed: median (lowest–highest) of the rounds; ×: how many times as fast as that the store is, the median of the rounds\n")
	if slices.ContainsFunc(r.Speed, func(x *row) bool { return x.Of != "" }) {
		fmt.Fprintf(w, "(× of a row of ordered maps: how many times as fast %s is)\n", orderedName)
	}
	fmt.Fprintln(w)
	peers := slices.DeleteFunc(slices.Clone(r.Peers), func(name string) bool {
		return !slices.ContainsFunc(r.Speed, func(x *row) bool { return len(x.Samples[name]) > 0 })
	})
	header := append(append([]string{"entries", "work", "unit"}, peers...), "a ratio above 1 says")
	goals := slices.ContainsFunc(r.Speed, func(x *row) bool { return len(x.Goals) > 0 })
	if goals {
		header = append(header, "goal")
	}
	writeCells(w, header)
	for _, row := range r.Speed {
		cells := []string{fmt.Sprint(row.Entries), row.Work, row.Unit}
		for _, p := range peers {
			cells = append(cells, cell(row, p))
		}
		cells = append(cells, row.meaning())
		if goals {
			cells = append(cells, row.verdict())
		}
		writeCells(w, cells)
	}
}

func (r *report) writeSpace(w io.Writer) {
	fmt.Fprintf(w, "\nSpace: bytes in the store's files per byte of keys and values (absolute in KiB)\n\n")
	header := []string{"entries", "state", "peer", "allocated", "at its peak", "KiB", "file length", "KiB", "overwrites"}
	goals := slices.ContainsFunc(r.Space, func(s spaceRow) bool { return s.Goal != nil })
	if goals {
		header = append(header, "goal of allocated")
	}
	writeCells(w, header)
	for _, s := range r.Space {
		overwrites := fmt.Sprint(s.Overwrites)
		if s.Full {
			overwrites += ", then full"
		}
		cells := []string{
			fmt.Sprint(s.Entries), s.State, s.Peer,
			number(s.perByte(s.Allocated)), number(s.perByte(s.Peak)), fmt.Sprint(s.Allocated >> 10),
			number(s.perByte(s.File)), fmt.Sprint(s.File >> 10), overwrites,
		}
		if goals {
			cells = append(cells, s.verdict())
		}
		writeCells(w, cells)
	}
}

func writeCells(w io.Writer, cells []string) { fmt.Fprintln(w, strings.Join(cells, "\t")) }

// cell returns the cell of one peer in a row, a dash if the peer has no figures.
func cell(r *row, peer string) string {
	s, ok := r.Summary[peer]
	if !ok {
		return "–"
	}
	text := fmt.Sprintf("%s (%s–%s)", number(s.Median), number(s.Min), number(s.Max))
	if ratio, ok := r.Ratios[peer]; ok {
		text += " ×" + number(ratio.Median)
	}
	return text
}

// number formats a figure with its significant digits.
func number(x float64) string {
	switch {
	case x >= 100:
		return fmt.Sprintf("%.0f", x)
	case x >= 20:
		return fmt.Sprintf("%.1f", x)
	}
	return fmt.Sprintf("%.2f", x)
}
