package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestMain lets the test's binary be the store's child, as the bench's binary is.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == storeName {
		main()
		return
	}
	os.Exit(m.Run())
}

// everyPeer returns the peers that can take part here.
func everyPeer(t *testing.T) []peer {
	t.Helper()
	b := bench{dir: t.TempDir()}
	for _, builder := range peerBuilders {
		b.config.peers = append(b.config.peers, builder.name)
	}
	if err := b.gather(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, skipped := range b.report.Skipped {
		t.Log("skipped:", skipped)
	}
	return b.peers
}

// Every peer does each task to the end, and on the same keys as the others.
func TestPeersDoTheSameWork(t *testing.T) {
	const n = 1000
	sums := map[string]uint64{}
	for _, p := range everyPeer(t) {
		path := filepath.Join(t.TempDir(), "store")
		for _, work := range []string{"load", "get", "get-dependent", "get-snapshot", "set", "get", "hold"} {
			task := task{work: work, n: n, seed: 7, path: path, ops: n, warm: n / 4, capacity: 1 << 30}
			r, err := run(t.Context(), p, task)
			if err != nil {
				t.Fatalf("%s: %s: %v", p.name, work, err)
			}
			if work != "hold" && (r.Ops != n || r.Nanos <= 0 || r.Full) {
				t.Errorf("%s: %s: odd result %+v", p.name, work, r)
			}
			if sum, ok := sums[work]; ok && sum != r.Sum {
				t.Errorf("%s: %s: keys add up to %d, for the peers before to %d", p.name, work, r.Sum, sum)
			}
			sums[work] = r.Sum
		}
	}
	if sums["get"] != sums["get-dependent"] || sums["get"] != sums["set"] {
		t.Errorf("the works draw different keys: %v", sums)
	}
}

// A whole run reports every measurement for every peer.
func TestRun(t *testing.T) {
	cfg := config{
		works: []string{"get", "readers", "set", "size"}, ns: []int{300, 100}, sizes: []int{200}, overwrites: 500,
		rounds: 2, seconds: 0.01, seed: 1, peers: []string{"lmdb"}, dir: t.TempDir(),
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
	if want := 2 * 8; len(r.Speed) != want {
		t.Errorf("%d rows of speed, want %d", len(r.Speed), want)
	}
	if !slices.IsSortedFunc(r.Speed, func(a, b *row) int { return a.Entries - b.Entries }) {
		t.Error("rows are not in order of entries")
	}
	for _, row := range r.Speed {
		for _, p := range r.Peers {
			if len(row.Samples[p]) != cfg.rounds || row.Summary[p].Median <= 0 {
				t.Errorf("%s, %d entries: %s has samples %v", row.Work, row.Entries, p, row.Samples[p])
			}
		}
	}
	if want := 3 * len(r.Peers); len(r.Space) != want {
		t.Errorf("%d rows of space, want %d", len(r.Space), want)
	}
	for _, s := range r.Space {
		if s.perByte(s.Allocated) < 1 || s.Peak < s.Allocated {
			t.Errorf("impossible space %+v", s)
		}
	}

	var table, encoded bytes.Buffer
	if err := r.writeTables(&table); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(table.String(), "2 processes to 1") {
		t.Errorf("incomplete table:\n%s", &table)
	}
	if err := r.writeJSON(&encoded); err != nil {
		t.Fatal(err)
	}
	var decoded report
	if err := json.Unmarshal(encoded.Bytes(), &decoded); err != nil || len(decoded.Space) != len(r.Space) {
		t.Errorf("JSON does not come back: %v", err)
	}
	if left, _ := os.ReadDir(cfg.dir); len(left) > 0 {
		t.Errorf("files left behind: %v", left)
	}
}

func TestTaskArgs(t *testing.T) {
	want := task{work: "set", n: 3, seed: 1 << 63, path: "p", ops: 4, seconds: 0.25, warm: 5, capacity: 6}
	if got, err := parseTask(want.args()); err != nil || got != want {
		t.Errorf("parseTask(args of %+v) = %+v, %v", want, got, err)
	}
	if _, err := parseTask([]string{"-work", "get"}); err == nil {
		t.Error("a task without an end was accepted")
	}
}

func TestSummarize(t *testing.T) {
	for _, c := range []struct {
		samples []float64
		want    summary
	}{
		{[]float64{3}, summary{3, 3, 3}},
		{[]float64{9, 1, 2}, summary{2, 1, 9}},
		{[]float64{4, 1, 2, 9}, summary{3, 1, 9}},
	} {
		if got := summarize(c.samples); got != c.want {
			t.Errorf("summarize(%v) = %v, want %v", c.samples, got, c.want)
		}
	}
}

// A ratio says how many times as long the peer takes, and is left out where a round failed.
func TestRatios(t *testing.T) {
	r := report{}
	for i := range 2 {
		r.add("get", 1, nanosPerOp, peer{name: storeName}, 10)
		r.add("get", 1, nanosPerOp, peer{name: "slow"}, float64(20*(i+1)))
	}
	r.add("get", 1, nanosPerOp, peer{name: "failed"}, 5)
	r.summarize()
	if got, want := r.Speed[0].Ratios["slow"], (summary{3, 2, 4}); got != want {
		t.Errorf("ratio %v, want %v", got, want)
	}
	if got, ok := r.Speed[0].Ratios["failed"]; ok {
		t.Errorf("ratio %v from rounds that do not pair up", got)
	}
}
