package main

import "fmt"

// A goal is the goal of the store in a row: at least or at most a figure. With a peer it applies to the ratio to that
// peer.
type goal struct {
	AtLeast float64 `json:"atLeast,omitempty"`
	AtMost  float64 `json:"atMost,omitempty"`
	Peer    string  `json:"peer,omitempty"`
}

// aim sets the goal of a row if the row exists. The zero goal is no goal.
func (r *report) aim(work string, entries int, g goal) {
	if row := r.row(work, entries); row != nil && g != (goal{}) {
		row.Goal = &g
	}
}

// verdict returns a row's goal and whether the store has reached it, in the median of the rounds or, for an upper
// limit, in all rounds.
func (r *row) verdict() string {
	if r.Goal == nil {
		return ""
	}
	found, ok := r.Summary[storeName]
	text := ""
	if r.Goal.Peer != "" {
		found, ok = r.Ratios[r.Goal.Peer]
		text = " × " + r.Goal.Peer
	}
	reached := found.Median >= r.Goal.AtLeast
	if r.Goal.AtMost > 0 {
		reached = found.Max <= r.Goal.AtMost
		text = fmt.Sprintf("≤ %.4g", r.Goal.AtMost) + text
	} else {
		text = fmt.Sprintf("≥ %.4g", r.Goal.AtLeast) + text
	}
	switch {
	case !ok:
		return text
	case reached:
		return text + ": reached"
	}
	return text + ": missed"
}
