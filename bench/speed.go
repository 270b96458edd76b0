package main

import (
	"context"
	"fmt"
	"slices"
)

// A measurement measures a peer on a task, whose path is a store, and adds samples to the report. A -work may consist
// of several measurements.
type measurement struct {
	work    string
	title   string // for lines of progress, and for the row if there is one only
	use     storeUse
	measure func(ctx context.Context, b *bench, p peer, t task) error
}

// The measurements of speed in order.
var measurements = []measurement{
	{"load", titleInsert, makesStore, inserts(titleInsert, 1)},
	{"load", titleInsertMany, makesStore, inserts(titleInsertMany, 1000)},
	reads("get", titleGet, task{work: "get"}),
	reads("get", "get, dependent chain", task{work: "get-dependent"}),
	reads("get", "get, in one snapshot, copied", task{work: "get-snapshot"}),
	reads("get", "get, in one snapshot, in place", task{work: "get-in-place"}),
	reads("get", titleChase, task{work: "chase"}),
	reads("absent", "get, absent key", task{work: "get-absent"}),
	{"zipf", titleZipf, readsStore, measureZipf},
	reads("many", "get, 32 at a time", task{work: "get-many", batch: 32}),
	reads("scan", "scan", task{work: "scan"}),
	{"scan", titleScanRewritten, writesStore, measureScanRewritten},
	{"open", titleOpen, readsStore, measureOpen},
	{"readers", "get, 1 and 2 processes", readsStore, inParallel("get", "get")},
	sets("set", titleSet, 1),
	{"writers", "overwrite, 1 and 2 processes", writesStore, inParallel("overwrite", "set")},
	{"goroutines", "overwrite, 1 and 8 goroutines", writesStore, measureGoroutines},
	{"mixed", "95 % get and 5 % set, 1 and 2 processes", writesStore, inParallel("95 % get and 5 % set", "mixed")},
	{"latency", "latencies of get", writesStore, measureLatency},
	sets("batch", "overwrite, 1000 a commit", 1000),
	{"delete", titleDelete, emptiesStore, measureDeletes},
}

const (
	titleInsert     = "insert, one a commit"
	titleInsertMany = "insert, 1000 a commit"
	titleZipf       = "get, Zipf 0.99"
	titleOpen       = "open, to the first get"
	titleDelete     = "delete, one a commit"

	titleScanRewritten = "scan, the store rewritten"
)

// speedWorks returns the names of the measurements of speed for -work.
func speedWorks() (names []string) { return worksOf(measurements) }

// worksOf returns the works of measurements, each once.
func worksOf(ms []measurement) (names []string) {
	for _, m := range ms {
		if !slices.Contains(names, m.work) {
			names = append(names, m.work)
		}
	}
	return names
}

// measure makes the measurements of one size in one round. Each measurement runs for all peers before the next one
// starts, so that a slow minute of the machine affects all peers. Each round begins with another peer.
func (b *bench) measure(ctx context.Context, ms []measurement, n, round int) {
	first := round % len(b.peers)
	for _, m := range ms {
		for _, p := range slices.Concat(b.peers[first:], b.peers[:first]) {
			b.measureOne(ctx, m, p, n, round)
		}
	}
}

// measureOne makes one measurement of one peer, if the peer can do it.
func (b *bench) measureOne(ctx context.Context, m measurement, p peer, n, round int) {
	if ctx.Err() != nil {
		return
	}
	t := b.speedTask(p, m.work, n, round)
	var s *filledStore
	if m.needsFilled(p) {
		if s = b.filled(ctx, p, t, round); s.err != nil {
			b.meter.skip(stepOf(p, m.title, t))
			return
		}
	}
	defer b.meter.begin(ctx, stepOf(p, m.title, t), round)()
	var err error
	if s != nil {
		var drop func()
		t.path, drop, err = b.storeFor(s, m.use, p)
		defer drop()
	}
	if err == nil {
		err = m.measure(ctx, b, p, t)
	}
	if err != nil {
		b.fail(ctx, p, t, err)
	}
}

// expectMeasurements tells the meter the steps of measure in all rounds.
func (b *bench) expectMeasurements(parts []part) {
	stores := map[storeKey]*filledStore{}
	expect := func(m measurement, p peer, n, round int) {
		t, key := b.task(p, m.work, n), storeKey{p.name, n}
		b.meter.expect(stepOf(p, m.title, t), 1)
		if !m.needsFilled(p) {
			return
		}
		if s := stores[key]; s == nil || s.stale(round) {
			b.meter.expect(stepOf(p, titleOfFill(s), t), 1)
			stores[key] = &filledStore{round: round}
		}
		stores[key].use(m.use, p)
	}
	for round := range b.rounds {
		for _, part := range parts {
			for _, m := range part.measurements {
				for _, p := range b.peers {
					expect(m, p, part.n, round)
				}
			}
		}
	}
}

// stepOf returns the step of a peer's task.
func stepOf(p peer, title string, t task) step { return step{p.name, title, t.n, t.value} }

// speedTask returns the task of one round. Each round draws other keys.
func (b *bench) speedTask(p peer, work string, n, round int) task {
	t := b.task(p, work, n)
	t.seed = splitmix64(b.seed + uint64(round))
	return t
}

// inserts returns a measurement that fills a store with the given number of keys a commit and drops it afterwards.
func inserts(title string, batch int) func(ctx context.Context, b *bench, p peer, t task) error {
	return func(ctx context.Context, b *bench, p peer, t task) error {
		drop, err := b.makeStore(ctx, p, t)
		defer drop()
		if err != nil {
			return err
		}
		t.work, t.ops, t.batch = "load", t.n, min(batch, t.n)
		r, err := runWhole(ctx, p, t)
		if err == nil {
			b.report.add(title, t.n, nanosPerOp, p, r.nanosPerOp())
		}
		return err
	}
}

// reads returns a measurement of one child that executes a task for the duration of a timed read.
func reads(work, title string, what task) measurement {
	return measurement{work, title, readsStore, func(ctx context.Context, b *bench, p peer, t task) error {
		t.work, t.batch, t.zipf, t.seconds = what.work, what.batch, what.zipf, b.seconds
		r, err := runWhole(ctx, p, t)
		if err == nil {
			b.report.add(title, t.n, nanosPerOp, p, r.nanosPerOp())
		}
		return err
	}}
}

func measureZipf(ctx context.Context, b *bench, p peer, t task) error {
	return reads("zipf", titleZipf, task{work: "get", zipf: zipfTop(t.n)}).measure(ctx, b, p, t)
}

// measureScanRewritten scans a store after its own rewrite. Peers without a rewrite are scanned as they are.
func measureScanRewritten(ctx context.Context, b *bench, p peer, t task) error {
	if rewrite := goPeers[p.name].rewrite; rewrite != nil {
		if err := rewrite(ctx, t.path); err != nil {
			return err
		}
	}
	err := reads("scan", titleScanRewritten, task{work: "scan"}).measure(ctx, b, p, t)
	b.report.aim(titleScanRewritten, t.n, goal{AtLeast: 1 / 1.5, Peer: "lmdb"})
	return err
}

// measureOpen opens the store several times, each in a new process, and takes the median.
func measureOpen(ctx context.Context, b *bench, p peer, t task) error {
	var samples []float64
	for i := range 9 {
		t.work, t.seed = "open", splitmix64(t.seed+uint64(i))
		r, err := run(ctx, p, t)
		if err != nil {
			return err
		}
		samples = append(samples, r.nanosPerOp())
	}
	b.report.add(titleOpen, t.n, nanosPerOp, p, summarize(samples).Median)
	return nil
}

// sets returns a measurement that overwrites with the given number of keys a commit. It follows a warm-up of a quarter
// as many sets, after which the store reuses the space of replaced values. The time is limited for slow peers.
func sets(work, title string, batch int) measurement {
	return measurement{work, title, writesStore, func(ctx context.Context, b *bench, p peer, t task) error {
		t.work, t.batch, t.ops = "set", batch, min(max(t.n, 500_000), 2_000_000)
		t.warm, t.seconds = t.ops/4, 4*b.seconds
		r, err := runWhole(ctx, p, t)
		if err == nil {
			b.report.add(title, t.n, nanosPerOp, p, r.nanosPerOp())
		}
		return err
	}}
}

// measureDeletes deletes all keys, but at most a million.
func measureDeletes(ctx context.Context, b *bench, p peer, t task) error {
	t.work, t.ops = "delete", min(t.n, 1_000_000)
	r, err := runWhole(ctx, p, t)
	if err == nil {
		b.report.add(titleDelete, t.n, nanosPerOp, p, r.nanosPerOp())
	}
	return err
}

// inParallel compares one process with two processes at the same time.
func inParallel(title, work string) func(ctx context.Context, b *bench, p peer, t task) error {
	return func(ctx context.Context, b *bench, p peer, t task) error {
		t.work = work
		return compareSums(ctx, b, p, t, title, "1 process", "2 processes", 2, inSum)
	}
}

// measureGoroutines compares one writing goroutine with eight of the same process.
func measureGoroutines(ctx context.Context, b *bench, p peer, t task) error {
	t.work = "set"
	return compareSums(ctx, b, p, t, "overwrite", "1 goroutine", "8 goroutines", 8, inSumOfOne)
}

// compareSums measures one worker, and the sum of several. It measures several first: a peer that cannot do this has
// no rows.
func compareSums(ctx context.Context, b *bench, p peer, t task, title, one, several string, workers int,
	inSum func(context.Context, peer, task, int) (float64, error)) error {
	t.seconds = b.seconds
	if t.work != "get" {
		t.warm = min(t.n/4, 100_000)
	}
	nanosOfSeveral, err := inSum(ctx, p, t, workers)
	if err != nil {
		return err
	}
	nanosOfOne, err := inSum(ctx, p, t, 1)
	if err != nil {
		return err
	}
	b.report.add(title+", "+one, t.n, nanosPerOp, p, nanosOfOne)
	b.report.add(title+", "+several+" in sum", t.n, nanosPerOp, p, nanosOfSeveral)
	b.report.add(title+", "+several+" to 1", t.n, timesAsFast, p, nanosOfOne/nanosOfSeveral)
	return nil
}

// runWhole executes a task and returns an error if the store was full before the end.
func runWhole(ctx context.Context, p peer, t task) (result, error) {
	c, err := start(ctx, p, t)
	if err != nil {
		return result{}, err
	}
	c.release()
	return c.waitWhole()
}

func (c *child) waitWhole() (result, error) {
	r, err := c.wait()
	if err == nil && r.Full {
		err = fullError{r.Ops}
	}
	return r, err
}

// A fullError reports that a store was full after a number of operations.
type fullError struct{ ops int }

func (e fullError) Error() string {
	return fmt.Sprintf("the store was full after %d operations", e.ops)
}
