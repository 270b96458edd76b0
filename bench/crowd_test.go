package main

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
)

// Each row of a crowd has a sample of each round for each peer that supports it.
func TestCrowd(t *testing.T) {
	t.Parallel()
	cfg := config{
		works: crowdWorks(), crowdNs: []int{1000}, crowdSeconds: 0.02, processes: []int{1, 3}, goroutines: []int{1, 2},
		rounds: 2, seed: 1, peers: []string{"lmdb", "tdb", "xsync"}, dir: t.TempDir(), progress: t.Output(),
	}
	r, err := runBench(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Failed) > 0 {
		t.Fatal(r.Failed)
	}
	if len(r.Skipped) > 0 {
		t.Skip("a peer that is not installed:", r.Skipped)
	}
	r.summarize()

	const ofAll, ofTransactions, ofCounting, ofGo = "shm lmdb tdb", "shm lmdb", "shm", "shm xsync"
	want := map[string]string{
		"1 writer: sets in sum":                                 ofAll,
		"3 writers: sets in sum":                                ofAll,
		"3 writers: to 1":                                       ofAll,
		"3 writers: sets a commit":                              ofCounting,
		"3 writers: lost compare-and-swaps a commit":            ofCounting,
		"3 writers: pages punched a 1000 keys set":              ofCounting,
		"3 writers: bytes of files per byte of keys and values": ofAll,
		"1 writer where 3 have been: to 1":                      ofAll,
		"a set among 8 writers, p50":                            ofAll,
		"a set among 8 writers, p99.9":                          ofAll,
		"a set among 8 writers, longest":                        ofAll,
		"reader beside 1 writer: gets":                          ofAll,
		"reader beside 8 writers: CPU time a get":               ofAll,
		titleShare(8):                                           ofAll,
		"2 goroutines: sets in sum":                             ofGo,
		"2 goroutines: to 1":                                    ofGo,
		"batches of 10000 beside a setter: to alone":            ofTransactions,
		"a setter beside batches of 10000: to alone":            ofTransactions,
		"runs of a batch of 10000 beside a setter, most":        ofCounting,
	}
	for work, peers := range want {
		row := r.row(work, 1000)
		if row == nil {
			t.Errorf("no row %q", work)
			continue
		}
		for _, p := range r.Peers {
			samples, has := len(row.Samples[p]), strings.Contains(peers, p)
			if has != (samples == cfg.rounds) || !has && samples > 0 {
				t.Errorf("%s: %d samples of %s in %d rounds", work, samples, p, cfg.rounds)
			}
		}
	}
	if runs := r.row("runs of a batch of 10000 beside a setter, mean", 1000).Summary[storeName]; runs.Min < 1 {
		t.Errorf("a batch ran %v times", runs)
	}
	var table bytes.Buffer
	if err := r.writeTables(&table); err != nil {
		t.Fatal(err)
	}
	for _, goal := range []string{
		`3 writers: sets in sum .*≥ 3 × lmdb: (reached|missed)\n`,
		`3 writers: to 1 .*≥ 0\.8: (reached|missed)\n`,
		`2 goroutines: to 1 .*≥ 1: (reached|missed)\n`,
		`among 8 writers, p99\.9 .*≥ 1 × lmdb: (reached|missed)\n`,
		`, most .*≤ 3: (reached|missed)\n`,
	} {
		if !regexp.MustCompile(goal).Match(table.Bytes()) {
			t.Errorf("no line like %s in\n%s", goal, &table)
		}
	}
}

func TestGoal(t *testing.T) {
	r := report{}
	for i, sample := range []float64{1, 2, 4} {
		r.round = i
		r.add("a", 1, nanosPerOp, peer{name: storeName}, sample)
		r.add("a", 1, nanosPerOp, peer{name: "slow"}, 3*sample)
	}
	r.summarize()
	for _, c := range []struct {
		goal
		want string
	}{
		{goal{AtLeast: 2}, "≥ 2: reached"},
		{goal{AtLeast: 2.5}, "≥ 2.5: missed"},
		{goal{AtMost: 4}, "≤ 4: reached"},
		{goal{AtMost: 3}, "≤ 3: missed"}, // in one of the rounds
		{goal{AtLeast: 3, Peer: "slow"}, "≥ 3 × slow: reached"},
		{goal{AtLeast: 4, Peer: "slow"}, "≥ 4 × slow: missed"},
		{goal{AtLeast: 4, Peer: "absent"}, "≥ 4 × absent"},
	} {
		r.aim("a", 1, c.goal)
		if got := r.row("a", 1).verdict(); got != c.want {
			t.Errorf("%+v: %q, want %q", c.goal, got, c.want)
		}
	}
}
