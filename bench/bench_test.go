package main

import (
	"bytes"
	"cmp"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seed-869cc763/shmkv/internal/testdir"
)

// asBench is the environment variable that makes the test's binary act as the bench.
const asBench = "SHMKV_TEST_AS_BENCH"

// TestMain makes the test's binary act as a child of the bench, or as the bench itself.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && goPeers[os.Args[1]].open != nil || os.Getenv(asBench) != "" {
		main()
		return
	}
	os.Exit(testdir.Main(m))
}

// everyPeer returns a bench with all peers that are available here.
func everyPeer(t *testing.T) *bench {
	t.Helper()
	b := &bench{dir: t.TempDir(), config: config{peers: allPeers()}}
	if err := b.gather(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, skipped := range b.report.Skipped {
		t.Log("skipped:", skipped)
	}
	return b
}

// needOrder lists the works that only peers with ordered entries can do.
var needOrder = []string{"range", "scan-ordered", "min", "higher", "floor", "at", "rank"}

// syncPeers are the peers that can do the work latency-sync.
var syncPeers = []string{storeName, "shm-small", "shm-prefault", namedName, orderedName, "lmdb", "lmdb-go", "bbolt"}

// orderedPeers are the peers with ordered entries that the bench uses as such.
var orderedPeers = []string{orderedName, "lmdb", "bbolt", "btree"}

// cannot lists the works that peers cannot do, beside needOrder and latency-sync. A peer must support all other works.
var cannot = map[string][]string{
	"lmdb":    {"at", "rank"},
	"lmdb-go": {"get workers"},
	"tdb":     {"load batch", "get-snapshot", "set batch", "set workers", "latency-set workers", "hold", "get workers"},
	"sharedmem": {
		"load batch", "load ascending", "get workers", "get-in-place", "get-many", "set batch", "set workers",
		"latency-set workers",
	},
	"memcached": {"get workers", "get-snapshot", "get-in-place", "scan", "set workers", "latency-set workers", "hold"},
	"flat": {
		"load batch", "get-snapshot", "set batch", "set workers", "latency-set workers", "hold", "get workers", "open",
		"latency writers",
	},
	"xsync":   {"load batch", "set batch", "open"},
	"syncmap": {"load batch", "set batch", "open"},
	"otter":   {"load batch", "set batch", "open"},
	"bbolt":   {"at", "rank"},
	"btree":   {"load batch", "set batch", "open", "rank"},
	"memory": {
		"load batch", "get-snapshot", "get-in-place", "get-absent", "get-many", "set batch", "mixed", "latency", "latency-set",
		"latency-set workers",
		"latency writers", "hold", "open", "delete",
	},
}

// Each peer completes each work, on the same keys as the others.
func TestPeersDoTheSameWork(t *testing.T) {
	t.Parallel()
	const n = 1024
	top := zipfTop(n)
	works := []struct {
		name string
		task
		sameAs string // another work with the same keys
	}{
		{name: "load", task: task{work: "load"}},
		{name: "get", task: task{work: "get"}},
		{name: "get workers", task: task{work: "get", workers: 2}},
		{name: "get-dependent", task: task{work: "get-dependent"}, sameAs: "get"},
		{name: "get zipf", task: task{work: "get", zipf: top}},
		{name: "get-absent", task: task{work: "get-absent"}, sameAs: "get"},
		{name: "get-many", task: task{work: "get-many", batch: 32}, sameAs: "get"},
		{name: "get-snapshot", task: task{work: "get-snapshot"}, sameAs: "get"},
		{name: "get-in-place", task: task{work: "get-in-place"}, sameAs: "get"},
		{name: "scan", task: task{work: "scan"}, sameAs: "load"},
		{name: "latency", task: task{work: "latency"}, sameAs: "get"},
		{name: "latency writers", task: task{work: "latency", writers: 1}, sameAs: "get"},
		{name: "latency-set", task: task{work: "latency-set"}, sameAs: "get"},
		{name: "latency-set workers", task: task{work: "latency-set", workers: 2}, sameAs: "get workers"},
		{name: "latency-sync", task: task{work: "latency-sync", batch: 64}, sameAs: "get"},
		{name: "open", task: task{work: "open"}},
		{name: "set", task: task{work: "set", warm: n / 4}, sameAs: "get"},
		{name: "set zipf", task: task{work: "set", zipf: top}, sameAs: "get zipf"},
		{name: "set batch", task: task{work: "set", batch: 64, warm: n / 4}, sameAs: "get"},
		{name: "set workers", task: task{work: "set", workers: 2}, sameAs: "get workers"},
		{name: "mixed", task: task{work: "mixed"}, sameAs: "get"},
		{name: "hold", task: task{work: "hold"}},
		{name: "get after", task: task{work: "get"}, sameAs: "get"},
		{name: "range", task: task{work: "range", batch: 10}},
		{name: "scan-ordered", task: task{work: "scan-ordered"}, sameAs: "load"},
		{name: "min", task: task{work: "min"}},
		{name: "higher", task: task{work: "higher"}},
		{name: "floor", task: task{work: "floor"}},
		{name: "at", task: task{work: "at"}},
		{name: "rank", task: task{work: "rank"}},
		{name: "delete", task: task{work: "delete"}, sameAs: "load"},
		{name: "load batch", task: task{work: "load", batch: 100}, sameAs: "load"},
		{name: "load ascending", task: task{work: "load", order: ascending}, sameAs: "load"},
	}
	b := everyPeer(t)
	sums := map[string]uint64{}
	for _, p := range b.peers {
		if p.name == "ristretto" || p.name == redisName {
			continue // a cache only
		}
		for _, value := range []int{minValueBytes, valueBytes, 10_000} {
			task := b.task(p, "load", n)
			task.seed, task.ops, task.value = 7, n, value
			drop, err := b.makeStore(t.Context(), p, task)
			if err != nil {
				t.Fatal(p.name, err)
			}
			for _, w := range works {
				task.work, task.zipf, task.batch, task.workers, task.warm = w.work, w.zipf, w.batch, w.workers, w.warm
				task.writers, task.order = w.writers, w.order
				if w.name == "load batch" || w.name == "load ascending" {
					drop()
					if drop, err = b.makeStore(t.Context(), p, task); err != nil {
						t.Fatal(p.name, err)
					}
				}
				if w.writers > 0 && !p.alone {
					continue // its writers are other processes
				}
				checkWork(t, p, w.name, task, cmp.Or(w.sameAs, w.name), sums)
			}
			drop()
		}
	}
	if len(b.report.Failed) > 0 {
		t.Error(b.report.Failed)
	}
	if sums["get"] == sums["get zipf"] || sums["get"] == sums["load"] {
		t.Errorf("works that should not draw the same keys: %v", sums)
	}
}

func checkWork(t *testing.T, p peer, name string, task task, sameAs string, sums map[string]uint64) {
	t.Helper()
	r, err := run(t.Context(), p, task)
	unable := slices.Contains(cannot[p.name], name) ||
		slices.Contains(needOrder, name) && !slices.Contains(orderedPeers, p.name) ||
		name == "latency-sync" && !slices.Contains(syncPeers, p.name)
	switch {
	case errors.Is(err, errUnsupported) != unable:
		t.Errorf("%s: %s: %v, but it is listed as one that can or cannot", p.name, name, err)
	case unable || name == "hold":
	case err != nil:
		t.Errorf("%s: %s: %v", p.name, name, err)
	default:
		ops := task.ops * max(task.workers, 1)
		if task.work == "open" {
			ops = 1
		}
		if r.Nanos <= 0 || r.Full || r.Ops != ops && name != "load batch" {
			t.Errorf("%s: %s: odd result %+v", p.name, name, r)
		}
		latencies := 0
		for _, l := range r.Latencies {
			latencies += int(l[1])
		}
		want := 0
		switch task.work {
		case "latency", "latency-set":
			want = ops
		case "latency-sync":
			want = ops / task.batch
		}
		if latencies != want {
			t.Errorf("%s: %s: %d latencies, want %d", p.name, name, latencies, want)
		}
		if sum, ok := sums[sameAs]; ok && sum != r.Sum {
			t.Errorf("%s: %s: keys add up to %d, should be %d as those of %s", p.name, name, r.Sum, sum, sameAs)
		}
		sums[sameAs] = r.Sum
	}
}

// Draws by Zipf's law have the frequencies of this law, and permute is a permutation.
func TestZipf(t *testing.T) {
	const n, draws = 1000, 1 << 20
	seen := make([]float64, n)
	for i := range uint64(draws) {
		seen[zipfRank(splitmix64(i), zipfTop(n), n)]++
	}
	var all float64
	for r := range n {
		all += math.Pow(float64(r+1), -0.99)
	}
	for _, r := range []int{0, 1, 2, 9, 99} {
		want := math.Pow(float64(r+1), -0.99) / all
		if got := seen[r] / draws; got < want*0.9 || got > want*1.12 {
			t.Errorf("rank %d has the frequency %.5f, want about %.5f", r, got, want)
		}
	}
	for _, n := range []uint64{1, 2, 7, 1000, 1 << 16} {
		hit := map[uint64]bool{}
		for i := range n {
			hit[permute(i, n)] = true
		}
		if len(hit) != int(n) {
			t.Errorf("permute reaches %d of %d", len(hit), n)
		}
	}
}

// A histogram survives its conversion to pairs and back.
func TestHistogramPairs(t *testing.T) {
	h := newHistogram()
	for i := range int64(10_000) {
		h.RecordValue(i * i)
	}
	back, err := histogramOf(pairsOf(h))
	if err != nil || !back.Equals(h) {
		t.Errorf("histogram does not come back: %v", err)
	}
}

// A whole run reports each measurement for each peer, except those that the peer cannot do.
func TestRun(t *testing.T) {
	t.Parallel()
	cfg := config{
		works: append(speedWorks(), "values", "size"), ns: []int{2000}, values: []int{8, 1 << 16}, sizes: []int{200}, overwrites: 500,
		rounds: 2, seconds: 0.01, seed: 1, peers: []string{"lmdb", "xsync"}, dir: t.TempDir(),
		progress: t.Output(),
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
	if len(r.Skipped) > 0 {
		t.Skip("a peer that is not installed:", r.Skipped)
	}
	r.summarize()
	if want := 36 + 2*2; len(r.Speed) != want {
		t.Errorf("%d rows of speed, want %d", len(r.Speed), want)
	}
	if !slices.IsSortedFunc(r.Speed, func(a, b *row) int { return a.Entries - b.Entries }) {
		t.Error("rows are not in order of entries")
	}
	for _, row := range r.Speed {
		for _, p := range []string{storeName, "lmdb"} { // xsync has gaps
			if len(row.Samples[p]) != cfg.rounds || row.Summary[p].Median <= 0 {
				t.Errorf("%s, %d entries: %s has samples %v", row.Work, row.Entries, p, row.Samples[p])
			}
		}
	}
	if want := 5 * 2; len(r.Space) != want {
		t.Errorf("%d rows of space, want %d", len(r.Space), want)
	}
	for _, s := range r.Space {
		if s.perByte(s.Allocated) < 1 && s.State != "everything deleted" || s.Peak < s.Allocated {
			t.Errorf("impossible space %+v", s)
		}
	}

	plots := t.TempDir()
	if err := r.writePlots(plots); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"get.svg", "set.svg", "latency.svg"} {
		drawn, err := os.ReadFile(filepath.Join(plots, name))
		if err != nil || !bytes.Contains(drawn, []byte("lmdb")) {
			t.Errorf("%s: %v, %d bytes without a line of a peer", name, err, len(drawn))
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
	file := filepath.Join(plots, "report.json")
	if err := os.WriteFile(file, encoded.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	var again bytes.Buffer
	decoded, err := readReport(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := decoded.writeJSON(&again); err != nil || !bytes.Equal(again.Bytes(), encoded.Bytes()) {
		t.Errorf("JSON does not come back as it was: %v", err)
	}
	if left, _ := os.ReadDir(cfg.dir); len(left) > 0 {
		t.Errorf("files left behind: %v", left)
	}
}

func TestTaskArgs(t *testing.T) {
	want := task{
		work: "set", n: 3, value: 7, seed: 1 << 63, zipf: zipfTop(3), path: "p", order: ascending, sync: syncCall,
		batch: 8, workers: 9, writers: 1, ops: 4, seconds: 0.25, warm: 5, capacity: 6, quiet: 0.5, trace: "loop",
	}
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

// A ratio is the store's speed divided by the peer's, from the rounds with samples of both.
func TestRatios(t *testing.T) {
	r := report{}
	for i := range 3 {
		r.round = i
		r.add("get", 1, nanosPerOp, peer{name: storeName}, 10)
		r.add("get", 1, nanosPerOp, peer{name: "slow"}, float64(20*(i+1)))
		r.add("sets", 1, thousandsPerSecond, peer{name: storeName}, 10)
		r.add("sets", 1, thousandsPerSecond, peer{name: "slow"}, 5)
		r.add("count", 1, count, peer{name: storeName}, 10)
		r.add("count", 1, count, peer{name: "slow"}, 5)
	}
	r.add("get", 1, nanosPerOp, peer{name: "failed once"}, 30)
	r.round = 3
	r.add("get", 1, nanosPerOp, peer{name: "alone"}, 30)
	r.summarize()
	for _, c := range []struct {
		work, peer string
		want       summary
	}{
		{"get", "slow", summary{4, 2, 6}}, {"get", "failed once", summary{3, 3, 3}}, {"sets", "slow", summary{2, 2, 2}},
	} {
		if got := r.row(c.work, 1).Ratios[c.peer]; got != c.want {
			t.Errorf("ratio of %s to %s: %v, want %v", c.work, c.peer, got, c.want)
		}
	}
	for work, peer := range map[string]string{"get": "alone", "count": "slow"} {
		if got, ok := r.row(work, 1).Ratios[peer]; ok {
			t.Errorf("%s has the ratio %v to %s", work, got, peer)
		}
	}
}
