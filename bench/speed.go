package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// A measurement takes a peer whose store is loaded and adds samples to the report. Several may belong to one -work.
type measurement struct {
	work    string
	measure func(ctx context.Context, b *bench, p peer, t task) error
}

// The measurements of speed, in the order in which they are made. The later ones change the store, and what they
// leave behind slows some peers down, LMDB for one: those that leave more come after those that leave less.
var measurements = []measurement{
	{"get", reads(titleGet, task{work: "get"})},
	{"get", reads("get, dependent chain", task{work: "get-dependent"})},
	{"get", reads("get, in one snapshot, copied", task{work: "get-snapshot"})},
	{"get", reads("get, in one snapshot, in place", task{work: "get-in-place"})},
	{"get", reads(titleChase, task{work: "chase"})},
	{"absent", reads("get, absent key", task{work: "get-absent"})},
	{"zipf", measureZipf},
	{"many", reads("get, 32 at a time", task{work: "get-many", batch: 32})},
	{"scan", reads("scan", task{work: "scan"})},
	{"open", measureOpen},
	{"readers", inParallel("get", "get")},
	{"set", sets(titleSet, 1)},
	{"writers", inParallel("overwrite", "set")},
	{"goroutines", measureGoroutines},
	{"mixed", inParallel("95 % get and 5 % set", "mixed")},
	{"latency", measureLatency},
	{"batch", sets("overwrite, 1000 a commit", 1000)},
	{"delete", measureDeletes},
}

// speedWorks are the names for -work of what speed measures.
func speedWorks() (names []string) {
	for _, m := range measurements {
		if !slices.Contains(names, m.work) {
			names = append(names, m.work)
		}
	}
	return append(names, "load")
}

// speed is one round at one size: every peer's store is filled anew, one key a commit, and then each measurement
// goes from peer to peer before the next one starts, so that a slow minute of the machine hits all of them. The
// rounds take turns in who comes first.
func (b *bench) speed(ctx context.Context, n, round int) {
	var loaded []peer
	for i := range b.peers {
		p := b.peers[(i+round)%len(b.peers)]
		b.step(ctx, measurement{"load", measureBulkLoad}, p, n, round)
		t := b.speedTask(p, "load", n, round)
		drop, err := b.makeStore(ctx, p, t)
		defer drop()
		if err == nil {
			err = measureLoad(ctx, b, p, t)
		}
		if err != nil {
			b.report.fail(p, t, err)
			continue
		}
		loaded = append(loaded, p)
	}
	for _, m := range measurements {
		for _, p := range loaded {
			b.step(ctx, m, p, n, round)
		}
	}
}

// step makes one measurement of one peer, if it is wanted and the peer can do it.
func (b *bench) step(ctx context.Context, m measurement, p peer, n, round int) {
	if !slices.Contains(b.works, m.work) {
		return
	}
	progress(ctx, "round %d of %d, %d entries: %s: %s", round+1, b.rounds, n, p.name, m.work)
	t := b.speedTask(p, m.work, n, round)
	if err := m.measure(ctx, b, p, t); err != nil && !errors.Is(err, errUnsupported) {
		b.report.fail(p, t, err)
	}
}

// speedTask is the task of one round, which draws other keys than the rounds before.
func (b *bench) speedTask(p peer, work string, n, round int) task {
	t := b.task(p, work, n)
	t.seed = splitmix64(b.seed + uint64(round))
	return t
}

// measureLoad fills the store that the measurements use, one key a commit.
func measureLoad(ctx context.Context, b *bench, p peer, t task) error {
	t.ops = t.n
	r, err := runWhole(ctx, p, t)
	if err == nil && (slices.Contains(b.works, "load") || slices.Contains(b.works, "set")) {
		b.report.add("insert, one a commit", t.n, nanosPerOp, p, r.nanosPerOp())
	}
	return err
}

// measureBulkLoad fills a store with many keys a commit. It is dropped again, because how a store was filled can
// decide how fast it is afterwards.
func measureBulkLoad(ctx context.Context, b *bench, p peer, t task) error {
	t.path += "-bulk"
	drop, err := b.makeStore(ctx, p, t)
	defer drop()
	if err != nil {
		return err
	}
	t.ops, t.batch = t.n, min(1000, t.n)
	r, err := runWhole(ctx, p, t)
	if err == nil {
		b.report.add("insert, 1000 a commit", t.n, nanosPerOp, p, r.nanosPerOp())
	}
	return err
}

// reads returns a measurement of one child that does what a task says for as long as a timed read lasts.
func reads(title string, what task) func(ctx context.Context, b *bench, p peer, t task) error {
	return func(ctx context.Context, b *bench, p peer, t task) error {
		t.work, t.batch, t.seconds = what.work, what.batch, b.seconds
		r, err := runWhole(ctx, p, t)
		if err == nil {
			b.report.add(title, t.n, nanosPerOp, p, r.nanosPerOp())
		}
		return err
	}
}

func measureZipf(ctx context.Context, b *bench, p peer, t task) error {
	t.zipf = zipfTop(t.n)
	return reads("get, Zipf 0.99", task{work: "get"})(ctx, b, p, t)
}

// measureOpen opens the store several times, in a new process each, and takes the median.
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
	b.report.add("open, to the first get", t.n, nanosPerOp, p, summarize(samples).Median)
	return nil
}

// sets returns a measurement of overwriting with so many keys a commit, after a quarter as many that are not timed, by
// which the store has settled into reusing what it replaces. Slow peers get no more than so much time.
func sets(title string, batch int) func(ctx context.Context, b *bench, p peer, t task) error {
	return func(ctx context.Context, b *bench, p peer, t task) error {
		t.work, t.batch, t.ops = "set", batch, min(max(t.n, 500_000), 2_000_000)
		t.warm, t.seconds = t.ops/4, 4*b.seconds
		r, err := runWhole(ctx, p, t)
		if err == nil {
			b.report.add(title, t.n, nanosPerOp, p, r.nanosPerOp())
		}
		return err
	}
}

// measureDeletes deletes all keys, or of many a part. It is the last measurement of a store.
func measureDeletes(ctx context.Context, b *bench, p peer, t task) error {
	t.work, t.ops = "delete", min(t.n, 1_000_000)
	r, err := runWhole(ctx, p, t)
	if err == nil {
		b.report.add("delete, one a commit", t.n, nanosPerOp, p, r.nanosPerOp())
	}
	return err
}

// inParallel compares one process that works with two at the same time.
func inParallel(title, work string) func(ctx context.Context, b *bench, p peer, t task) error {
	return func(ctx context.Context, b *bench, p peer, t task) error {
		t.work = work
		return compareSums(ctx, b, p, t, title, "1 process", "2 processes", 2, inSum)
	}
}

// measureGoroutines compares one goroutine that writes with eight of the same process.
func measureGoroutines(ctx context.Context, b *bench, p peer, t task) error {
	t.work = "set"
	return compareSums(ctx, b, p, t, "overwrite", "1 goroutine", "8 goroutines", 8, inSumOfOne)
}

// compareSums measures one worker and several in sum. The several come first: who cannot do that has no rows here.
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

// inSum lets so many processes work at the same time and returns the nanoseconds per operation of all together.
func inSum(ctx context.Context, p peer, t task, processes int) (float64, error) {
	if p.alone {
		return inSumOfOne(ctx, p, t, processes)
	}
	ctx, stop := context.WithCancel(ctx) // after an error, the others end too
	defer stop()
	var children []*child
	for i := range processes {
		if i > 0 {
			t.seed = splitmix64(t.seed + uint64(i))
		}
		c, err := start(ctx, p, t)
		if err != nil {
			return 0, err
		}
		children = append(children, c)
	}
	for _, c := range children {
		c.release()
	}
	var opsPerNano float64
	for _, c := range children {
		r, err := c.waitWhole()
		if err != nil {
			return 0, err
		}
		opsPerNano += 1 / r.nanosPerOp()
	}
	return 1 / opsPerNano, nil
}

// inSumOfOne lets so many workers of one process work at the same time.
func inSumOfOne(ctx context.Context, p peer, t task, workers int) (float64, error) {
	t.workers = workers
	r, err := runWhole(ctx, p, t)
	return r.nanosPerOp(), err
}

// runWhole carries out a task and takes it for an error when the store was full before the end.
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

// A fullError says that a store was full after so many operations.
type fullError struct{ ops int }

func (e fullError) Error() string {
	return fmt.Sprintf("the store was full after %d operations", e.ops)
}
