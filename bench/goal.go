package main

import (
	"fmt"
	"strings"
)

// A goal is the goal of a row's subject: at least or at most a figure. With a peer it applies to the ratio to that
// peer.
type goal struct {
	AtLeast float64 `json:"atLeast,omitempty"`
	AtMost  float64 `json:"atMost,omitempty"`
	Peer    string  `json:"peer,omitempty"`
	// Points applies to hit ratios, with a peer: how many points less than that of the peer the figure may be.
	Points float64 `json:"points,omitempty"`
}

// aim sets the goals of a row if the row exists. The zero goal is no goal.
func (r *report) aim(work string, entries int, goals ...goal) {
	row := r.row(work, entries)
	if row == nil {
		return
	}
	row.Goals = nil
	for _, g := range goals {
		if g != (goal{}) {
			row.Goals = append(row.Goals, g)
		}
	}
}

// verdict returns a row's goals and whether its subject has reached them, in the median of the rounds or, for an upper
// limit, in all rounds.
func (r *row) verdict() string {
	var all []string
	for _, g := range r.Goals {
		found, ok := r.Summary[r.subject()]
		if r.Unit == hitsOf100 {
			than, has := r.Summary[g.Peer]
			all = append(all, g.points(found, than, ok && has))
			continue
		}
		if g.Peer != "" {
			found, ok = r.Ratios[g.Peer]
		}
		all = append(all, g.verdict(found, ok))
	}
	return strings.Join(all, "; ")
}

// verdict returns the goal and, if ok, whether the figures found have reached it.
func (g goal) verdict(found summary, ok bool) string {
	text, reached := fmt.Sprintf("≥ %.4g", g.AtLeast), found.Median >= g.AtLeast
	if g.AtMost > 0 {
		text, reached = fmt.Sprintf("≤ %.4g", g.AtMost), found.Max <= g.AtMost
	}
	if g.Peer != "" {
		text += " × " + g.Peer
	}
	switch {
	case !ok:
		return text
	case reached:
		return text + ": reached"
	}
	return text + ": missed"
}

// points returns the goal for a hit ratio and, if ok, whether the median found has reached that of the peer.
func (g goal) points(found, peer summary, ok bool) string {
	text := "≥ " + g.Peer
	if g.Points > 0 {
		text += fmt.Sprintf(" − %.4g", g.Points)
	}
	switch {
	case !ok:
		return text
	case found.Median >= peer.Median-g.Points:
		return text + ": reached"
	}
	return text + ": missed"
}
