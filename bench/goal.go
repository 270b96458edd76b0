package main

import "fmt"

// A goal is what the store is meant to reach in a row: at least or at most a figure. With a peer it is about the
// ratio to that peer.
type goal struct {
	AtLeast float64 `json:"atLeast,omitempty"`
	AtMost  float64 `json:"atMost,omitempty"`
	Peer    string  `json:"peer,omitempty"`
}

// aim gives a row that is there a goal. The zero goal is none.
func (r *report) aim(work string, entries int, g goal) {
	if row := r.row(work, entries); row != nil && g != (goal{}) {
		row.Goal = &g
	}
}

// verdict tells a row's goal and whether the store has reached it, in the median of the rounds or, if it is an upper
// limit, in all of them.
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
