package main

import (
	"slices"
	"testing"

	"github.com/seed-869cc763/shmkv/internal/testdir"
)

// Each row of counter has a sample of each peer.
func TestCounter(t *testing.T) {
	t.Parallel()
	cfg := config{
		works: counterWorks(), counterNs: []int{500}, seconds: 0.02, rounds: 1, seed: 1, peers: []string{redisName},
		dir: testdir.Memory(t), progress: t.Output(),
	}
	if err := cfg.validate(); err != nil {
		t.Fatal(err)
	}
	r, err := runBench(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Failed) > 0 {
		t.Fatal(r.Failed)
	}
	r.summarize()
	var titles []string
	for _, s := range spreads {
		titles = append(titles, titleCounterServer+s.title, titleCounterMany+s.title, titleCounterAdd+s.title)
	}
	for _, title := range append(titles, titleCounterRange, titleCounterMiddle) {
		row := r.row(title, 500)
		if row == nil {
			t.Errorf("no row %q", title)
			continue
		}
		for _, p := range r.Peers {
			if len(row.Samples[p]) != 1 {
				t.Errorf("%s: %d samples of %s in one round", title, len(row.Samples[p]), p)
			}
		}
	}
	if !slices.Contains(r.Peers, redisName) {
		t.Skip("a peer that is not installed:", r.Skipped)
	}
}
