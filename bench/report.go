package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
)

// A report is everything that a run has found.
type report struct {
	Machine machine    `json:"machine"`
	Peers   []string   `json:"peers"` // the store first
	Speed   []*row     `json:"speed,omitempty"`
	Space   []spaceRow `json:"space,omitempty"`
	// Latencies are the whole distributions behind the rows of percentiles.
	Latencies []*latencyRow `json:"latencies,omitempty"`
	Skipped   []string      `json:"skipped,omitempty"` // peers that could not take part, and why
	Failed    []string      `json:"failed,omitempty"`  // tasks that went wrong, and how
}

// Units of the rows of speed.
const (
	nanosPerOp  = "ns/op" // less is better
	timesAsFast = "×"     // more is better
)

// aboveOne says what the ratios, or the figures themselves, mean when they are above 1.
var aboveOne = map[string]string{
	nanosPerOp:  "the store is faster",
	timesAsFast: "several do more than one",
}

// readReport reads a report that was written as JSON.
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
	// Ratios tell how many times as long as the store each other peer takes, from samples of the same round.
	Ratios map[string]summary `json:"ratios,omitempty"`
}

// A spaceRow is the space that a peer's store takes in one state.
type spaceRow struct {
	State   string `json:"state"`
	Entries int    `json:"entries"`
	Peer    string `json:"peer"`
	space
	Peak       int64 `json:"peakBytes"` // most allocated at any time
	Overwrites int   `json:"overwrites"`
	Full       bool  `json:"full"` // it could not do them all
}

// perByte returns a number of bytes in the store's files for each byte of keys and values.
func (r spaceRow) perByte(bytes int64) float64 {
	return float64(bytes) / float64(payload(r.Entries, valueBytes))
}

// add adds a sample to the row of its work and size.
func (r *report) add(work string, entries int, unit string, p peer, sample float64) {
	i := slices.IndexFunc(r.Speed, func(x *row) bool { return x.Work == work && x.Entries == entries })
	if i < 0 {
		i = len(r.Speed)
		r.Speed = append(r.Speed, &row{Work: work, Entries: entries, Unit: unit, Samples: map[string][]float64{}})
	}
	r.Speed[i].Samples[p.name] = append(r.Speed[i].Samples[p.name], sample)
}

// fail notes that a task went wrong, once however many rounds it does so in.
func (r *report) fail(p peer, t task, err error) {
	line := fmt.Sprintf("%s: %s, %d entries: %v", p.name, t.work, t.n, err)
	if !slices.Contains(r.Failed, line) {
		r.Failed = append(r.Failed, line)
	}
}

// summarize fills in what follows from the samples.
func (r *report) summarize() {
	for _, row := range r.Speed {
		row.Summary, row.Ratios = map[string]summary{}, map[string]summary{}
		own := row.Samples[storeName]
		for name, samples := range row.Samples {
			row.Summary[name] = summarize(samples)
			if name == storeName || row.Unit != nanosPerOp || len(samples) != len(own) {
				continue // where a round failed, the samples do not pair up
			}
			ratios := make([]float64, len(own))
			for i := range own {
				ratios[i] = samples[i] / own[i]
			}
			row.Ratios[name] = summarize(ratios)
		}
	}
	slices.SortStableFunc(r.Speed, func(a, b *row) int { return a.Entries - b.Entries })
}

// A summary is what is told of several samples.
type summary struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// summarize returns the summary of at least one sample.
func summarize(samples []float64) summary {
	s := slices.Sorted(slices.Values(samples))
	middle := len(s) / 2
	median := s[middle]
	if len(s)%2 == 0 {
		median = (s[middle-1] + s[middle]) / 2
	}
	return summary{Median: median, Min: s[0], Max: s[len(s)-1]}
}
