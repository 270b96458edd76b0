package main

import (
	"context"
	"fmt"
	"io"
	"time"
)

// A step is a part of a run with its own line of progress. Most steps run in each round.
type step struct {
	peer  string
	title string
	n     int // entries
	value int // bytes of each value
}

func (s step) String() string {
	return fmt.Sprintf("%s: %s: %d entries, values of %s", s.peer, s.title, s.n, byteSize(s.value))
}

// A meter shows the progress of a run. It estimates the remaining time from the times of earlier steps.
type meter struct {
	out    io.Writer
	rounds int
	left   map[step]int // number of remaining runs of each step
	done   map[step]int
	took   map[step]time.Duration // total time of the completed runs of each step
}

func newMeter(out io.Writer, rounds int) *meter {
	return &meter{out, rounds, map[step]int{}, map[step]int{}, map[step]time.Duration{}}
}

// expect adds to the number of remaining runs of a step.
func (m *meter) expect(s step, times int) { m.left[s] += times }

// skip notes that an expected run of a step does not happen.
func (m *meter) skip(s step) { m.expect(s, -1) }

// outsideRounds is the round of steps that run once, after all rounds.
const outsideRounds = -1

// begin writes the line of a step that begins, unless the run was interrupted and only skips the remaining steps. Call
// the returned function when the step ends.
func (m *meter) begin(ctx context.Context, s step, round int) (end func()) {
	if ctx.Err() == nil {
		when := "after the rounds"
		if round != outsideRounds {
			when = fmt.Sprintf("round %d of %d", round+1, m.rounds)
		}
		fmt.Fprintf(m.out, "%s: %s (%s)\n", when, s, m.outlook())
	}
	m.expect(s, -1)
	began := time.Now()
	return func() {
		m.done[s]++
		m.took[s] += time.Since(began)
	}
}

// outlook returns the number of remaining steps, including the one that begins, and their estimated time if any of
// them has run before. The estimate for a step is its average time so far.
func (m *meter) outlook() string {
	steps, known, rest := 0, 0, time.Duration(0)
	for s, left := range m.left {
		steps += left
		if done := m.done[s]; done > 0 {
			known += left
			rest += time.Duration(left) * m.took[s] / time.Duration(done)
		}
	}
	text := plural(steps, "step") + " left"
	switch known {
	case 0:
		return text
	case steps:
		return text + ", about " + roughly(rest)
	}
	return text + ", more than " + roughly(rest)
}

// roughly formats a duration with few digits, for an estimate.
func roughly(d time.Duration) string {
	switch {
	case d < 90*time.Second:
		return fmt.Sprintf("%.0fs", d.Seconds())
	case d < 90*time.Minute:
		return fmt.Sprintf("%.0fm", d.Minutes())
	}
	return fmt.Sprintf("%.1fh", d.Hours())
}
