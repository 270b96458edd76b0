package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/seed-869cc763/shmkv/internal/testdir"
)

// Each row of cache has a sample of each peer that is such a cache, and hit ratios are possible ones.
func TestCache(t *testing.T) {
	t.Parallel()
	cfg := config{
		works: expand([]string{cacheWork}), cacheNs: []int{2000}, cacheBytes: 8_000_000, cacheReads: 3, seconds: 0.01, rounds: 1, seed: 1,
		peers: []string{"otter", "ristretto", "xsync"}, dir: testdir.Memory(t), progress: t.Output(),
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
	check := func(title, peers string) {
		row := r.row(title, 2000)
		if row == nil {
			t.Errorf("no row %q", title)
			return
		}
		for _, p := range r.Peers {
			s, has := row.Summary[p]
			if has != slices.Contains(strings.Fields(peers), p) {
				t.Errorf("%s: a sample of %s: %v", title, p, has)
			}
			if has && (s.Median < 0 || row.Unit == hitsOf100 && s.Median > 100 || row.Unit == timesBound && (s.Median <= 0 || s.Median > 1)) {
				t.Errorf("%s: %s has %v %s", title, p, s.Median, row.Unit)
			}
		}
	}
	const caches = "shm otter ristretto"
	for _, trace := range traceNames {
		for _, share := range shares {
			check(titleRatio(trace, share), caches)
			check(titleRatio(trace, share)+": memory", caches)
		}
	}
	check(titleCacheGet, caches)
	check(titleCacheSet, caches)
	for _, title := range []string{
		titleHitToGet, titleSetToSet, titleCreateToGet, titleCacheSets + " in sum", titleCacheSets + " to 1",
		titleTakeover + ", median", titleTakeover + ", longest",
	} {
		check(title, "shm")
	}
	if s := r.row(titleRatio("Zipf 1.2", 50), 2000).Summary[storeName]; s.Median < 50 {
		t.Errorf("a hit ratio of %v", s.Median)
	}
}

// A goal in points compares with the ratio of the peer.
func TestPoints(t *testing.T) {
	r := report{}
	r.add("ratio", 1, hitsOf100, peer{name: storeName}, 50)
	r.add("ratio", 1, hitsOf100, peer{name: "otter"}, 51)
	r.aim("ratio", 1, goal{Peer: "otter", Points: 2}, goal{Peer: "otter"}, goal{Peer: "memcached"})
	r.summarize()
	if got, want := r.row("ratio", 1).verdict(), "≥ otter − 2: reached; ≥ otter: missed; ≥ memcached"; got != want {
		t.Errorf("verdict %q, want %q", got, want)
	}
}

// The sizes of a trace of mixed sizes are in their range, with the mean that the bounds assume.
func TestMixedSizes(t *testing.T) {
	sum := 0.0
	const n = 100_000
	for k := range uint64(n) {
		s := mixedSize(k)
		if s < leastMixed || s > mostMixed {
			t.Fatalf("key %d has the size %d", k, s)
		}
		sum += float64(s)
	}
	if mean := sum / n; mean < 0.97*mixedMean || mean > 1.03*mixedMean {
		t.Errorf("the mean is %.0f, want about %.0f", mean, mixedMean)
	}
}
