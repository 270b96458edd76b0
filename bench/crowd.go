package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/seed-869cc763/shmkv/shm"
)

// The work "crowd" measures many writers on few cores. It consists of all works whose names begin with "crowd-".
const crowd = "crowd"

const (
	crowdOf    = 8      // writers, in measurements that do not vary their number
	crowdBatch = 10_000 // keys in a large commit
)

// crowdMeasurements returns the measurements of the work "crowd" in order.
func (c config) crowdMeasurements() (all []measurement) {
	add := func(part, title string, measure func(ctx context.Context, b *bench, p peer, t task) error) {
		all = append(all, measurement{crowd + "-" + part, "crowd, " + title, writesStore, measure})
	}
	for _, k := range c.processes {
		add("writers", plural(k, "writer"), measureCrowdWriters(k))
	}
	add("latency", fmt.Sprintf("latencies of %d writers", crowdOf), measureCrowdLatency)
	for _, k := range []int{1, crowdOf} {
		add("readers", "a reader beside "+plural(k, "writer"), measureCrowdReader(k))
	}
	for _, k := range c.goroutines {
		add("goroutines", plural(k, "goroutine"), measureCrowdGoroutines(k))
	}
	add("batch", titleSetter, measureCrowdSetter)
	add("batch", titleBatch, measureCrowdBatch)
	add("batch", titleBatchBeside, measureCrowdBatchAndSetter)
	return all
}

// crowdWorks returns the names of the parts of crowd for -work.
func crowdWorks() []string {
	return worksOf((config{processes: []int{1}, goroutines: []int{1}}).crowdMeasurements())
}

// Goals of the store among n entries.
func goalOfProcesses(n int) goal {
	if n < 1_000_000 {
		return goal{AtLeast: 0.8}
	}
	return goal{AtLeast: 1}
}

func goalOfGoroutines(n int) goal {
	if n < 100_000 {
		return goal{AtLeast: 1}
	}
	return goal{AtLeast: 1.3}
}

// crowdTask returns the task of one of k writers. Together they first make enough sets that the store reuses the
// space of replaced values.
func (b *bench) crowdTask(t task, k int) task {
	t.work, t.seconds, t.warm = "set", b.crowdSeconds, max(t.n/4, 50_000)/k
	return t
}

// measureCrowdWriters measures k processes that set random keys, one a commit.
func measureCrowdWriters(k int) func(ctx context.Context, b *bench, p peer, t task) error {
	return func(ctx context.Context, b *bench, p peer, t task) error {
		if p.alone {
			return errUnsupported
		}
		t = b.crowdTask(t, k)
		var c counted
		results, err := runTogether(ctx, p, t.copies(k), nil, c.begin(p, t))
		if err == nil {
			err = c.end()
		}
		if err != nil {
			return err
		}
		title := plural(k, "writer")
		b.addWriters(title, "1 writer", p, t.n, k, sumPerSecond(results), goalOfProcesses(t.n))
		c.addTo(b, title, p, t.n)
		if err := b.addFiles(title, p, t); err != nil || k < slices.Max(b.processes) || k == 1 {
			return err
		}
		// The effects of many writers may slow a later single writer.
		t.warm = 0
		r, err := runWhole(ctx, p, t)
		if err == nil {
			b.addWriters(fmt.Sprintf("1 writer where %d have been", k), "1 writer", p, t.n, k, r.perSecond(), goal{})
		}
		return err
	}
}

// measureCrowdGoroutines measures k goroutines of one process that do the same. Peers in C have no goroutines.
func measureCrowdGoroutines(k int) func(ctx context.Context, b *bench, p peer, t task) error {
	return func(ctx context.Context, b *bench, p peer, t task) error {
		if goPeers[p.name].open == nil {
			return errUnsupported
		}
		t = b.crowdTask(t, 1)
		t.workers = k
		var c counted
		results, err := runTogether(ctx, p, []task{t}, nil, c.begin(p, t))
		if err == nil {
			err = c.end()
		}
		if err != nil {
			return err
		}
		b.addWriters(plural(k, "goroutine"), "1 goroutine", p, t.n, k, sumPerSecond(results), goalOfGoroutines(t.n))
		c.addTo(b, plural(k, "goroutine"), p, t.n)
		return nil
	}
}

// addWriters adds the sets a second of k writers, and their ratio to those of one writer.
func (b *bench) addWriters(title, one string, p peer, n, k int, perSecond float64, g goal) {
	const sets = ": sets in sum"
	b.report.add(title+sets, n, thousandsPerSecond, p, perSecond)
	if k == 1 {
		return
	}
	if one == "1 writer" && g != (goal{}) {
		b.report.aim(title+sets, n, goal{AtLeast: 3, Peer: "lmdb"})
	}
	if of1, ok := b.report.inThisRound(one+sets, n, p); ok {
		b.report.add(title+": to 1", n, timesAsFast, p, perSecond/of1)
		b.report.aim(title+": to 1", n, g)
	}
}

// measureCrowdLatency measures the time of each set of several writers.
func measureCrowdLatency(ctx context.Context, b *bench, p peer, t task) error {
	if p.alone {
		return errUnsupported
	}
	t = b.crowdTask(t, crowdOf)
	t.work = "latency-set"
	results, err := runTogether(ctx, p, t.copies(crowdOf), nil, nil)
	if err != nil {
		return err
	}
	var all [][2]int64
	for _, r := range results {
		all = append(all, r.Latencies...)
	}
	title := fmt.Sprintf("a set among %d writers", crowdOf)
	if err := b.report.addLatencies(title, t.n, p, all); err != nil {
		return err
	}
	b.report.aim(title+", p99.9", t.n, goal{AtLeast: 1, Peer: "lmdb"})
	return nil
}

// measureCrowdReader measures one process that gets beside k processes that set. The number of gets depends on the
// process's share of the cores as much as on the store, so the report also contains the CPU time of each get.
func measureCrowdReader(k int) func(ctx context.Context, b *bench, p peer, t task) error {
	return func(ctx context.Context, b *bench, p peer, t task) error {
		if p.alone {
			return errUnsupported
		}
		t = b.crowdTask(t, k+1)
		t.work = "get"
		r, _, err := besideWriters(ctx, p, t, k)
		if err != nil {
			return err
		}
		b.report.add("reader beside "+plural(k, "writer")+": gets", t.n, thousandsPerSecond, p, r.perSecond())
		if r.CPUNanos == 0 {
			return nil
		}
		cpu := float64(r.CPUNanos) / float64(r.Ops)
		b.report.add(titleCPU(k), t.n, nanosPerOp, p, cpu)
		if beside1, ok := b.report.inThisRound(titleCPU(1), t.n, p); ok && k > 1 {
			b.report.add(titleShare(k), t.n, timesAsFast, p, beside1/cpu)
		}
		return nil
	}
}

func titleCPU(k int) string { return "reader beside " + plural(k, "writer") + ": CPU time a get" }

func titleShare(k int) string {
	return fmt.Sprintf("reader beside %d writers to beside 1, within its share of the cores", k)
}

var (
	titleBatch        = fmt.Sprintf("batches of %d, alone: keys", crowdBatch)
	titleBatchBeside  = fmt.Sprintf("batches of %d beside a setter: keys", crowdBatch)
	titleSetter       = "a setter, alone: sets"
	titleSetterBeside = fmt.Sprintf("a setter beside batches of %d: sets", crowdBatch)
	titleBoth         = fmt.Sprintf("batches of %d beside a setter", crowdBatch)
	titleRuns         = fmt.Sprintf("runs of a batch of %d beside a setter", crowdBatch)
)

func measureCrowdSetter(ctx context.Context, b *bench, p peer, t task) error {
	if p.alone {
		return errUnsupported
	}
	r, err := runWhole(ctx, p, b.crowdTask(t, 1))
	if err == nil {
		b.report.add(titleSetter, t.n, thousandsPerSecond, p, r.perSecond())
	}
	return err
}

func measureCrowdBatch(ctx context.Context, b *bench, p peer, t task) error {
	if p.alone {
		return errUnsupported
	}
	t = b.crowdTask(t, 1)
	t.batch = crowdBatch
	r, err := runWhole(ctx, p, t)
	if err == nil {
		b.report.add(titleBatch, t.n, thousandsPerSecond, p, r.perSecond())
	}
	return err
}

// measureCrowdBatchAndSetter measures a process that commits large batches beside a process that sets single keys.
func measureCrowdBatchAndSetter(ctx context.Context, b *bench, p peer, t task) error {
	if p.alone {
		return errUnsupported
	}
	tasks := b.crowdTask(t, 1).copies(2)
	tasks[0].batch = crowdBatch
	var c counted
	results, err := runTogether(ctx, p, tasks, nil, c.begin(p, t))
	if err == nil {
		err = c.end()
	}
	if err != nil {
		return err
	}
	b.addBeside(titleBatchBeside, titleBatch, p, t.n, results[0].perSecond(), goal{AtLeast: 0.5})
	b.addBeside(titleSetterBeside, titleSetter, p, t.n, results[1].perSecond(), goal{AtLeast: 0.3})
	if runs := results[0].batchRuns; c.of != nil && runs.Batches > 0 {
		b.report.add(titleRuns+", mean", t.n, count, p, float64(runs.Runs)/float64(runs.Batches))
		b.report.add(titleRuns+", most", t.n, count, p, float64(runs.MostRuns))
		b.report.aim(titleRuns+", most", t.n, goal{AtMost: 3})
	}
	c.addPunched(b, titleBoth, p, t.n)
	return b.addFiles(titleBoth, p, t)
}

// addBeside adds the speed of a process beside another one, and its ratio to the speed alone.
func (b *bench) addBeside(title, alone string, p peer, n int, perSecond float64, g goal) {
	b.report.add(title, n, thousandsPerSecond, p, perSecond)
	if before, ok := b.report.inThisRound(alone, n, p); ok {
		title, _, _ = strings.Cut(title, ":")
		b.report.add(title+": to alone", n, timesAsFast, p, perSecond/before)
		b.report.aim(title+": to alone", n, g)
	}
}

// addFiles adds the space of the store's files.
func (b *bench) addFiles(title string, p peer, t task) error {
	s, err := spaceOf(t.path)
	if err == nil {
		perByte := float64(s.Allocated) / float64(payload(t.n, t.value))
		b.report.add(title+": bytes of files per byte of keys and values", t.n, count, p, perByte)
	}
	return err
}

// A counted contains the counters of a store during a measurement. It is empty for other peers.
type counted struct {
	of     func(path string) (shm.Stats, error) // nil if the peer counts nothing
	path   string
	before shm.Stats
	shm.Counters
}

// begin returns a function that starts to count on a peer's store.
func (c *counted) begin(p peer, t task) func() error {
	c.of, c.path = goPeers[p.name].stats, t.path
	return func() (err error) {
		if c.of != nil {
			c.before, err = c.of(c.path)
		}
		return err
	}
}

func (c *counted) end() error {
	if c.of == nil {
		return nil
	}
	after, err := c.of(c.path)
	c.Counters = after.Sub(c.before).Counters
	return err
}

// addTo adds the counters of writers of single keys to the report.
func (c *counted) addTo(b *bench, title string, p peer, n int) {
	if c.of == nil || c.Commits == 0 {
		return
	}
	b.report.add(title+": sets a commit", n, count, p, float64(c.Changes)/float64(c.Commits))
	b.report.add(title+": lost compare-and-swaps a commit", n, count, p, float64(c.Lost)/float64(c.Commits))
	c.addPunched(b, title, p, n)
}

func (c *counted) addPunched(b *bench, title string, p peer, n int) {
	if c.of != nil && c.Changes > 0 {
		b.report.add(title+": pages punched a 1000 keys set", n, count, p, 1000*float64(c.PunchedPages)/float64(c.Changes))
	}
}

// plural formats a number of things whose plural ends in s.
func plural(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}
