package main

import (
	"context"
	"fmt"
)

// A latencyRow is the distribution of the times of a peer's gets or sets in all rounds.
type latencyRow struct {
	Work    string `json:"work"`
	Entries int    `json:"entries"`
	Peer    string `json:"peer"`
	// Nanos are pairs of a time in nanoseconds and its count.
	Nanos [][2]int64 `json:"nanos"`
}

// percentiles are the percentiles in the table.
var percentiles = []float64{50, 99, 99.9}

// measureLatency measures the time of each get of a reader, alone and beside a writer that overwrites at full speed.
func measureLatency(ctx context.Context, b *bench, p peer, t task) error {
	t.work, t.seconds = "latency", b.seconds
	r, err := runWhole(ctx, p, t)
	if err != nil {
		return err
	}
	if err := b.report.addLatencies(titleAlone, t.n, p, r.Latencies); err != nil {
		return err
	}
	if r, err = besideWriter(ctx, b, p, t); err != nil {
		return err
	}
	return b.report.addLatencies(titleRace, t.n, p, r.Latencies)
}

// besideWriter executes a task while another process overwrites, or another goroutine if the peer has one process.
func besideWriter(ctx context.Context, b *bench, p peer, t task) (result, error) {
	if p.alone {
		t.writers = 1
		return runWhole(ctx, p, t)
	}
	r, beside, err := besideWriters(ctx, p, t, 1)
	if err == nil {
		b.report.add("overwrite beside a reader", t.n, nanosPerOp, p, 1e6/sumPerSecond(beside))
	}
	return r, err
}

// addLatencies adds a round's percentiles to the table, and all its latencies to the distribution.
func (r *report) addLatencies(work string, entries int, p peer, nanos [][2]int64) error {
	h, err := histogramOf(nanos)
	if err != nil {
		return err
	}
	for _, q := range percentiles {
		r.add(fmt.Sprintf("%s, p%g", work, q), entries, nanosPerOp, p, float64(h.ValueAtQuantile(q)))
	}
	r.add(work+", longest", entries, nanosPerOp, p, float64(h.Max()))
	if row := r.latencies(work, entries, p.name); row != nil {
		both, err := histogramOf(append(row.Nanos, nanos...))
		row.Nanos = pairsOf(both)
		return err
	}
	r.Latencies = append(r.Latencies, &latencyRow{work, entries, p.name, nanos})
	return nil
}

// latencies returns the distribution of a row, or nil if there is none.
func (r *report) latencies(work string, entries int, peer string) *latencyRow {
	for _, row := range r.Latencies {
		if row.Work == work && row.Entries == entries && row.Peer == peer {
			return row
		}
	}
	return nil
}
