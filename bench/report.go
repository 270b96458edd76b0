package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"slices"
)

// A report contains all results of a run.
type report struct {
	Machine machine    `json:"machine"`
	Peers   []string   `json:"peers"` // the store first
	Speed   []*row     `json:"speed,omitempty"`
	Space   []spaceRow `json:"space,omitempty"`
	// Latencies are the whole distributions behind the rows of percentiles.
	Latencies []*latencyRow `json:"latencies,omitempty"`
	Skipped   []string      `json:"skipped,omitempty"` // peers that could not take part, with reasons
	Failed    []string      `json:"failed,omitempty"`  // failed tasks, with errors
	// Incomplete is the reason why the run ended early, or "".
	Incomplete string `json:"incomplete,omitempty"`

	round int // round of the samples that are added
}

// Units of the rows of speed.
const (
	nanosPerOp         = "ns/op" // less is better
	thousandsPerSecond = "k/s"   // more is better
	perSecond          = "1/s"   // more is better
	timesAsFast        = "×"     // more is better
	timesAGet          = "× get" // the speed, divided by that of a get of the same peer
	timesRandom        = "× random"
	timesOnSync        = "× OnSync" // the speed, divided by that without checkpoints
	timesASet          = "× set"    // the speed, divided by that of a set without eviction
	timesSocket        = "× socket" // the speed, divided by that over a socket
	hitsOf100          = "% hits"   // more is better
	timesBound         = "× bound"  // bytes, divided by the bound
	timesAlone         = "× alone"  // the latency, divided by that without a collection; less is better
	count              = "count"    // the title names the counted things
)

// aboveOne gives the meaning of ratios, or of the figures themselves, above 1.
var aboveOne = map[string]string{
	nanosPerOp:         "the store is faster",
	thousandsPerSecond: "the store is faster",
	perSecond:          "the store is faster",
	timesAsFast:        "several do more than one",
	timesAGet:          "it is faster than a get",
	timesASet:          "it is faster than one without",
	timesSocket:        "it is faster than over a socket",
	timesRandom:        "it is faster than in random order",
	timesOnSync:        "it is faster than without an interval",
}

// readReport reads a report from JSON.
func readReport(file string) (*report, error) {
	encoded, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var r report
	if err := json.Unmarshal(encoded, &r); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return &r, nil
}

// A row is one measurement at one size, with a sample from each round for every peer.
type row struct {
	Work    string               `json:"work"`
	Entries int                  `json:"entries"`
	Unit    string               `json:"unit"`
	Samples map[string][]float64 `json:"samples"`
	Summary map[string]summary   `json:"summary"`
	// Ratios are the subject's speed divided by that of each peer, from samples of the same round.
	Ratios map[string]summary `json:"ratios,omitempty"`
	Goals  []goal             `json:"goals,omitempty"`
	// Of is the peer that the ratios and goals are about. It is empty if they are about the store itself.
	Of string `json:"of,omitempty"`

	rounds map[string][]int // rounds of the samples
}

// A spaceRow is the space of a peer's store in one state.
type spaceRow struct {
	State   string `json:"state"`
	Entries int    `json:"entries"`
	Peer    string `json:"peer"`
	space
	Peak       int64 `json:"peakBytes"` // largest allocation at any time
	Overwrites int   `json:"overwrites"`
	Full       bool  `json:"full"` // the store was full before the end
	// Goal applies to the allocated bytes per byte of keys and values.
	Goal *goal `json:"goal,omitempty"`
}

// perByte returns bytes, divided by the bytes of keys and values.
func (r spaceRow) perByte(bytes int64) float64 {
	return float64(bytes) / float64(payload(r.Entries, valueBytes))
}

// row returns the row of a work and size, or nil.
func (r *report) row(work string, entries int) *row {
	i := slices.IndexFunc(r.Speed, func(x *row) bool { return x.Work == work && x.Entries == entries })
	if i < 0 {
		return nil
	}
	return r.Speed[i]
}

// subject returns the peer that the row's ratios and goals are about.
func (r *row) subject() string { return cmp.Or(r.Of, storeName) }

// meaning says what ratios, or the figures themselves, mean above 1.
func (r *row) meaning() string {
	if r.Of != "" && (r.Unit == nanosPerOp || r.Unit == thousandsPerSecond) {
		return r.Of + " is faster"
	}
	return aboveOne[r.Unit]
}

// add adds a sample of this round to the row of a work and size.
func (r *report) add(work string, entries int, unit string, p peer, sample float64) {
	to := r.row(work, entries)
	if to == nil {
		to = &row{Work: work, Entries: entries, Unit: unit, Samples: map[string][]float64{}, rounds: map[string][]int{}}
		r.Speed = append(r.Speed, to)
	}
	to.Samples[p.name] = append(to.Samples[p.name], sample)
	to.rounds[p.name] = append(to.rounds[p.name], r.round)
}

// inThisRound returns a peer's last sample in a row if it is from this round.
func (r *report) inThisRound(work string, entries int, p peer) (float64, bool) {
	row := r.row(work, entries)
	if row == nil {
		return 0, false
	}
	last := len(row.Samples[p.name]) - 1
	if last < 0 || row.rounds[p.name][last] != r.round {
		return 0, false
	}
	return row.Samples[p.name][last], true
}

// fail notes the failure of a task, once for all rounds.
func (r *report) fail(p peer, t task, err error) {
	line := fmt.Sprintf("%s: %s, %d entries: %v", p.name, t.work, t.n, err)
	if !slices.Contains(r.Failed, line) {
		r.Failed = append(r.Failed, line)
	}
}

// skip notes what a peer cannot do, with the reason, once.
func (r *report) skip(line string) {
	if !slices.Contains(r.Skipped, line) {
		r.Skipped = append(r.Skipped, line)
	}
}

// summarize computes the fields that depend on the samples.
func (r *report) summarize() {
	for _, row := range r.Speed {
		row.Summary, row.Ratios = map[string]summary{}, map[string]summary{}
		for name, samples := range row.Samples {
			row.Summary[name] = summarize(samples)
			if ratios := row.ratios(name); len(ratios) > 0 {
				row.Ratios[name] = summarize(ratios)
			}
		}
	}
	slices.SortStableFunc(r.Speed, func(a, b *row) int { return a.Entries - b.Entries })
}

// ratios returns the subject's speed divided by a peer's, for each round that has a sample of both. Some units have no
// ratios.
func (r *row) ratios(name string) (ratios []float64) {
	of, rate := r.subject(), r.Unit == thousandsPerSecond || r.Unit == perSecond
	if name == of || r.Unit != nanosPerOp && !rate {
		return nil
	}
	for i, sample := range r.Samples[name] {
		j := slices.Index(r.rounds[of], r.rounds[name][i])
		if j < 0 {
			continue
		}
		ratio := sample / r.Samples[of][j]
		if rate {
			ratio = 1 / ratio
		}
		ratios = append(ratios, ratio)
	}
	return ratios
}

// A summary summarizes several samples.
type summary struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// summarize returns the summary of one or more samples.
func summarize(samples []float64) summary {
	s := slices.Sorted(slices.Values(samples))
	middle := len(s) / 2
	median := s[middle]
	if len(s)%2 == 0 {
		median = (s[middle-1] + s[middle]) / 2
	}
	return summary{Median: median, Min: s[0], Max: s[len(s)-1]}
}
