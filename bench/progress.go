package main

import (
	"context"
	"fmt"
	"io"
	"time"
)

// A step is a piece of a run with a line of progress of its own. Most come again in every round.
type step struct {
	peer  string
	title string
	n     int // entries
	value int // bytes of each value
}

func (s step) String() string {
	return fmt.Sprintf("%s: %s: %d entries, values of %s", s.peer, s.title, s.n, byteSize(s.value))
}

// A meter tells how far a run is, and estimates from how long its steps took before how long the rest will take.
type meter struct {
	out    io.Writer
	rounds int
	left   map[step]int // how often each is still to come
	done   map[step]int
	took   map[step]time.Duration // all that were done together
}

func newMeter(out io.Writer, rounds int) *meter {
	return &meter{out, rounds, map[step]int{}, map[step]int{}, map[step]time.Duration{}}
}

// expect says that a step will come so many times more.
func (m *meter) expect(s step, times int) { m.left[s] += times }

// skip says that a step that was expected does not come this time.
func (m *meter) skip(s step) { m.expect(s, -1) }

// outsideRounds stands for the round of steps that come once, after all rounds.
const outsideRounds = -1

// begin writes the line of a step that begins, unless the run was interrupted and only passes what is left. The
// function that it returns must be called when the step ends.
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

// outlook says how many steps are left, the one that begins among them, and how long they will take, if that is known
// of any of them: a step is taken to last as long as it did before, on average.
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

// roughly writes a duration with as many digits as an estimate deserves.
func roughly(d time.Duration) string {
	switch {
	case d < 90*time.Second:
		return fmt.Sprintf("%.0fs", d.Seconds())
	case d < 90*time.Minute:
		return fmt.Sprintf("%.0fm", d.Minutes())
	}
	return fmt.Sprintf("%.1fh", d.Hours())
}
