package main

import (
	"context"
	"fmt"
	"slices"
	"syscall"
)

// The work "durable" measures commits that survive a crash of the system, so it needs a disk. It consists of all works
// whose names begin with "durable-".
const durable = "durable"

const (
	durableOf   = 8    // goroutines or processes that commit together
	durableSets = 1000 // sets before each Sync
)

var (
	titleCommitOf1         = "durable, 1 process"
	titleCommitGoroutines  = fmt.Sprintf("durable, %d goroutines", durableOf)
	titleCommitBatched     = titleCommitGoroutines + ", bbolt with Batch"
	titleCommitOfProcesses = fmt.Sprintf("durable, %d processes", durableOf)
	titleSync              = fmt.Sprintf("Sync after %d sets", durableSets)
)

// durableMeasurements are the measurements of the work "durable" in order.
var durableMeasurements = []measurement{
	{durable + "-commits", titleCommitOf1, writesDisk, measureDurable},
	{durable + "-commits", titleCommitGoroutines, writesDisk, measureDurableGoroutines},
	{durable + "-commits", titleCommitOfProcesses, writesDisk, measureDurableProcesses},
	{durable + "-interval", titleInterval(1), writesDisk, measureInterval(1)},
	{durable + "-interval", titleInterval(durableOf), writesDisk, measureInterval(durableOf)},
	{durable + "-sync", titleSync, writesDisk, measureSync},
	{durable + "-recovery", titleRecovery, writesDisk, measureRecovery},
}

// durableWorks returns the names of the parts of durable for -work.
func durableWorks() []string { return worksOf(durableMeasurements) }

// isDurable reports whether a work is a part of durable.
func isDurable(work string) bool { return slices.Contains(durableWorks(), work) }

// durableTask returns the task of one of k processes that commit.
func (b *bench) durableTask(t task, k int) task {
	t.work, t.sync, t.seconds, t.warm = "latency-set", syncEach, b.durableSeconds, 200/k
	return t
}

// onQuietDisk executes tasks at the same time, after the disk has all that was written before.
func onQuietDisk(ctx context.Context, p peer, tasks ...task) ([]result, error) {
	if !p.durable {
		return nil, errUnsupported
	}
	syscall.Sync()
	return runTogether(ctx, p, tasks, nil, nil)
}

// measureDurable measures one process that sets random keys, in durable commits.
func measureDurable(ctx context.Context, b *bench, p peer, t task) error {
	results, err := onQuietDisk(ctx, p, b.durableTask(t, 1))
	if err != nil {
		return err
	}
	return b.addCommits(titleCommitOf1, p, t.n, results)
}

// measureDurableGoroutines measures goroutines of one process, or threads, that do the same. For bbolt it measures both
// of its calls for that, and both rows have the store's figures.
func measureDurableGoroutines(ctx context.Context, b *bench, p peer, t task) error {
	t = b.durableTask(t, 1)
	t.workers = durableOf
	results, err := onQuietDisk(ctx, p, t)
	if err != nil {
		return err
	}
	if err := b.addCommits(titleCommitGoroutines, p, t.n, results); err != nil {
		return err
	}
	switch p.name {
	case "bbolt":
		t.sync, t.seed = syncBatched, splitmix64(t.seed)
		if results, err = onQuietDisk(ctx, p, t); err != nil {
			return err
		}
	case storeName:
	default:
		return nil
	}
	return b.addCommits(titleCommitBatched, p, t.n, results)
}

// measureDurableProcesses measures several processes that do the same.
func measureDurableProcesses(ctx context.Context, b *bench, p peer, t task) error {
	if p.durable && p.alone {
		b.report.skip(fmt.Sprintf("%s: %s: only one process can have it open", p.name, titleCommitOfProcesses))
		return errUnsupported
	}
	results, err := onQuietDisk(ctx, p, b.durableTask(t, durableOf).copies(durableOf)...)
	if err != nil {
		return err
	}
	return b.addCommits(titleCommitOfProcesses, p, t.n, results)
}

// addCommits adds the commits a second of all results in sum, and the times of the commits.
func (b *bench) addCommits(title string, p peer, n int, results []result) error {
	b.report.add(title+": commits", n, perSecond, p, 1000*sumPerSecond(results))
	return b.report.addLatencies(title+": a commit", n, p, latenciesOf(results))
}

// latenciesOf returns the latencies of all results.
func latenciesOf(results []result) (all [][2]int64) {
	for _, r := range results {
		all = append(all, r.Latencies...)
	}
	return all
}

func titleInterval(k int) string { return "checkpoints every second, " + plural(k, "goroutine") }

func titleOnSync(k int) string { return "checkpoints on Sync only, " + plural(k, "goroutine") }

// measureInterval measures k goroutines that set random keys in a store with a checkpoint every second, and in one
// without an interval. Each round begins with the other one.
func measureInterval(k int) func(ctx context.Context, b *bench, p peer, t task) error {
	return func(ctx context.Context, b *bench, p peer, t task) error {
		if goPeers[p.name].stats == nil {
			return errUnsupported
		}
		t = b.durableTask(t, 1)
		t.workers, t.warm = k, max(t.n/4, 50_000)
		phases := []struct{ sync, title string }{{syncSecond, titleInterval(k)}, {syncCall, titleOnSync(k)}}
		if b.report.round%2 == 1 {
			slices.Reverse(phases)
		}
		for _, phase := range phases {
			t.sync = phase.sync
			t.seed = splitmix64(t.seed) // the store does not commit a value that a key already has
			if err := b.measureSets(ctx, phase.title, p, t); err != nil {
				return err
			}
		}
		with, ok := b.report.inThisRound(titleInterval(k)+": sets", t.n, p)
		without, okWithout := b.report.inThisRound(titleOnSync(k)+": sets", t.n, p)
		if ok && okWithout {
			b.report.add(titleInterval(k)+": to on Sync only", t.n, timesOnSync, p, with/without)
		}
		return nil
	}
}

// measureSets measures sets, the time of each one, and the number of checkpoints.
func (b *bench) measureSets(ctx context.Context, title string, p peer, t task) error {
	stats := goPeers[p.name].stats
	before, err := stats(t.path)
	if err != nil {
		return err
	}
	results, err := onQuietDisk(ctx, p, t)
	if err != nil {
		return err
	}
	after, err := stats(t.path)
	if err != nil {
		return err
	}
	b.report.add(title+": sets", t.n, thousandsPerSecond, p, sumPerSecond(results))
	b.report.add(title+": checkpoints", t.n, count, p, float64(after.Checkpoints.Count-before.Checkpoints.Count))
	return b.report.addLatencies(title+": a set", t.n, p, latenciesOf(results))
}

// measureSync measures the time to make many commits durable at once.
func measureSync(ctx context.Context, b *bench, p peer, t task) error {
	t = b.durableTask(t, 1)
	t.work, t.sync, t.batch, t.warm = "latency-sync", syncCall, durableSets, 0
	results, err := onQuietDisk(ctx, p, t)
	if err != nil {
		return err
	}
	return b.report.addLatencies(titleSync, t.n, p, latenciesOf(results))
}
