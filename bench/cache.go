package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// The work "cache" measures the store's cache beside other caches. It consists of all works whose names begin with
// "cache-".
const cacheWork = "cache"

const (
	titleCacheGet    = "cache: get of a hit"
	titleCacheSet    = "cache: set with eviction"
	titleHitToGet    = "cache: get of a hit to a store's get"
	titleCreateToGet = "cache: GetOrCreate of a present key to a get of a hit"
	titleSetToSet    = "cache: set with eviction to one without"
	titleTakeover    = "cache: takeover after a SIGKILL"
	titleCacheSets   = "cache: sets with eviction, 8 processes"

	cacheWriters = 8
	takeovers    = 9
)

// shares are the bounds of the caches, in percent of the bytes of all keys and values of a trace.
var shares = []int{1, 10, 50}

// cacheMeasurements are the measurements of the work "cache" in order.
var cacheMeasurements = slices.Concat(ratioMeasurements(), []measurement{
	{cacheWork + "-get", titleCacheGet, makesStore, measureCacheGet},
	{cacheWork + "-get", titleHitToGet, makesStore, compareInTurns("cache-to-get", titleHitToGet, timesAGet, goal{AtLeast: 1 / 1.1})},
	{cacheWork + "-set", titleCacheSet, makesStore, measureCacheSet},
	{cacheWork + "-set", titleSetToSet, makesStore, compareInTurns("cache-set-to-set", titleSetToSet, timesASet, goal{AtLeast: 0.5})},
	{cacheWork + "-writers", titleCacheSets, makesStore, measureCacheWriters},
	{cacheWork + "-create", titleCreateToGet, makesStore, compareInTurns("cache-create-to-get", titleCreateToGet, timesAGet, goal{AtLeast: 1 / 1.2})},
	{cacheWork + "-create", titleTakeover, makesStore, measureTakeover},
})

// cacheWorks returns the names of the parts of cache for -work.
func cacheWorks() []string { return worksOf(cacheMeasurements) }

func titleRatio(trace string, share int) string {
	return fmt.Sprintf("hit ratio, %s, bound of %d %%", trace, share)
}

func ratioMeasurements() (all []measurement) {
	for _, trace := range traceNames {
		for _, share := range shares {
			all = append(all, measurement{cacheWork + "-ratio", titleRatio(trace, share), makesStore, measureRatio(trace, share)})
		}
	}
	return all
}

// leastBound is the least bound of a cache.
const leastBound = 2 << 20

// ratioTask returns the task of a trace, with a bound of share percent of the bytes of all keys and values. These are
// about the same whatever the number of keys, so few keys have large values. The bound is in whole MiB, because
// memcached knows no others.
func (b *bench) ratioTask(t task, trace string, share int) task {
	t.work, t.trace = "cache-trace", trace
	t.value = max(int(b.cacheBytes)/t.n-keyBytes, minValueBytes)
	t.ops = b.cacheReads * t.n
	if trace == "mixed sizes" {
		t.n = max(int(float64(b.cacheBytes)/(keyBytes+mixedMean)), 1)
	}
	bound := b.cacheBytes * int64(share) / 100
	t.capacity = max((bound+1<<20-1)&^(1<<20-1), leastBound)
	return t
}

// measureRatio measures the hit ratio of a trace, and how much memory the peer has at its end.
func measureRatio(trace string, share int) func(ctx context.Context, b *bench, p peer, t task) error {
	return func(ctx context.Context, b *bench, p peer, t task) error {
		n, title := t.n, titleRatio(trace, share)
		t = b.ratioTask(t, trace, share)
		r, err := b.runCache(ctx, p, t)
		if err != nil {
			return err
		}
		b.report.add(title, n, hitsOf100, p, 100*float64(r.Hits)/float64(r.Reads))
		b.report.aim(title, n, goal{Peer: "memcached"}, goal{Peer: "otter", Points: 2})
		b.report.add(title+": memory", n, timesBound, p, float64(r.Held)/float64(t.capacity))
		return nil
	}
}

// runCache executes a task of a peer that is a cache, on a new one.
func (b *bench) runCache(ctx context.Context, p peer, t task) (result, error) {
	if goPeers[p.name].cache == nil {
		return result{}, errUnsupported
	}
	drop, err := b.makeStore(ctx, p, t)
	defer drop()
	if err != nil {
		return result{}, err
	}
	return runWhole(ctx, p, t)
}

// roomy is a bound within which a cache of n entries of a task evicts nothing, even if it has them twice.
func roomy(t task) int64 { return 64<<20 + 8*payload(t.n, t.value) }

func measureCacheGet(ctx context.Context, b *bench, p peer, t task) error {
	t.work, t.seconds, t.capacity = "cache-get", b.seconds, roomy(t)
	r, err := b.runCache(ctx, p, t)
	if err == nil {
		b.report.add(titleCacheGet, t.n, nanosPerOp, p, r.nanosPerOp())
	}
	return err
}

// atBound returns the task of a process that sets new keys in a cache which has room for about half of n entries.
func (b *bench) atBound(t task) task {
	t.work, t.seconds, t.warm = "cache-set", 4*b.seconds, t.n
	t.capacity = max(payload(t.n, t.value)/2+1<<20-1, 2*leastBound) &^ (1<<20 - 1)
	return t
}

func measureCacheSet(ctx context.Context, b *bench, p peer, t task) error {
	r, err := b.runCache(ctx, p, b.atBound(t))
	if err == nil {
		b.report.add(titleCacheSet, t.n, nanosPerOp, p, r.nanosPerOp())
	}
	return err
}

// measureCacheWriters compares one process that sets new keys in a cache at its bound with several.
func measureCacheWriters(ctx context.Context, b *bench, p peer, t task) error {
	if goPeers[p.name].cache == nil || p.alone {
		return errUnsupported
	}
	t = b.atBound(t)
	var sums [2]float64
	for i, k := range []int{cacheWriters, 1} {
		drop, err := b.makeStore(ctx, p, t)
		if err == nil {
			var results []result
			results, err = runTogether(ctx, p, t.copies(k), nil, nil)
			sums[i] = sumPerSecond(results)
		}
		drop()
		if err != nil {
			return err
		}
	}
	b.report.add(titleCacheSets+" in sum", t.n, thousandsPerSecond, p, sums[0])
	b.report.add(titleCacheSets+" to 1", t.n, timesAsFast, p, sums[0]/sums[1])
	b.report.aim(titleCacheSets+" to 1", t.n, goal{AtLeast: 0.7})
	return nil
}

// compareInTurns returns a measurement of the store's cache whose figure is the speed of an operation, divided by that
// of another one.
func compareInTurns(work, title, unit string, g goal) func(ctx context.Context, b *bench, p peer, t task) error {
	return func(ctx context.Context, b *bench, p peer, t task) error {
		if p.name != storeName {
			return errUnsupported
		}
		if work == "cache-set-to-set" {
			t = b.atBound(t)
		} else {
			t.capacity = roomy(t)
		}
		t.work, t.seconds, t.warm = work, 2*b.seconds, 0
		r, err := b.runCache(ctx, p, t)
		if err != nil {
			return err
		}
		b.report.add(title, t.n, unit, p, 1/r.Ratio)
		b.report.aim(title, t.n, g)
		return nil
	}
}

// measureTakeover kills the creators of several keys, one after the other, and adds the median and the longest time
// until a waiter has taken over.
func measureTakeover(ctx context.Context, b *bench, p peer, t task) error {
	if p.name != storeName {
		return errUnsupported
	}
	t.capacity = 64 << 20
	drop, err := b.makeStore(ctx, p, t)
	defer drop()
	if err != nil {
		return err
	}
	var all []float64
	for range takeovers {
		took, err := timeTakeover(ctx, p, t)
		if err != nil {
			return err
		}
		all = append(all, float64(took))
	}
	s := summarize(all)
	b.report.add(titleTakeover+", median", t.n, nanosPerOp, p, s.Median)
	b.report.add(titleTakeover+", longest", t.n, nanosPerOp, p, s.Max)
	b.report.aim(titleTakeover+", longest", t.n, goal{AtMost: float64(100 * time.Millisecond)})
	return nil
}
