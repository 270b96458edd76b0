package shmprom

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-869cc763/shmkv/shm/cache"
)

// cacheCounts are what is counted of the work of a cache.
var cacheCounts = []struct {
	name, help string
	of         func(cache.Counts) uint64
}{
	{"hits_total", "Reads that found an item.", func(c cache.Counts) uint64 { return c.Hits }},
	{"misses_total", "Reads that found none.", func(c cache.Counts) uint64 { return c.Misses }},
	{"evictions_total", "Items that were deleted to make room.", func(c cache.Counts) uint64 { return c.Evictions }},
	{"expirations_total", "Items that were deleted after they had expired.", func(c cache.Counts) uint64 { return c.Expirations }},
	{"creations_total", "Values that GetOrCreate has asked for.", func(c cache.Counts) uint64 { return c.Creations }},
	{"waits_total", "Callers of GetOrCreate that slept while another one created.", func(c cache.Counts) uint64 { return c.Waits }},
	{"takeovers_total", "Creations in place of one that died or was stopped.", func(c cache.Counts) uint64 { return c.Takeovers }},
}

// cacheGauges are what a region has, and its store.
var cacheGauges = []struct {
	desc *prometheus.Desc
	of   func(cache.Stats) int64
}{
	{describeCache("items", "Items of the region, expired ones included.", "store", "region"), func(s cache.Stats) int64 { return s.Items }},
	{describeCache("data_bytes", "Bytes of their keys and values.", "store", "region"), func(s cache.Stats) int64 { return s.DataBytes }},
	{describeCache("bound_bytes", "What the handle lets the file data grow to.", "store", "region"), func(s cache.Stats) int64 { return s.Bound }},
	{describeCache("target_bytes", "Bytes of live blocks from which on writes evict.", "store", "region"), func(s cache.Stats) int64 { return s.Target }},
}

// The counts as metrics: of one handle, and of all processes.
var ofHandle, ofAll = describeCounts("", " By the handle of this process.", "store", "region"),
	describeCounts("all_", " By all processes, in all regions of the store.", "store")

func describeCounts(prefix, by string, labels ...string) (all []*prometheus.Desc) {
	for _, c := range cacheCounts {
		all = append(all, describeCache(prefix+c.name, c.help+by, labels...))
	}
	return all
}

func describeCache(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("shmkv_cache_"+name, help, labels, nil)
}

type cacheCollector struct{ caches []*cache.Cache }

// NewCacheCollector returns a collector for the given open caches, to be
// registered. Their metrics have the labels store, the path of the store, and
// region, so no two may have both in common. Those with names that begin with
// shmkv_cache_all_ have the label store only: they are sums over all processes,
// as Stats.All is, and one process is enough to report them. The others count
// the work of one handle. A cache whose store is closed reports nothing more.
//
// What the store itself holds and does is reported by NewCollector.
func NewCacheCollector(caches ...*cache.Cache) prometheus.Collector { return cacheCollector{caches} }

// Describe implements prometheus.Collector.
func (c cacheCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, g := range cacheGauges {
		ch <- g.desc
	}
	for i := range cacheCounts {
		ch <- ofHandle[i]
		ch <- ofAll[i]
	}
}

// Collect implements prometheus.Collector.
func (c cacheCollector) Collect(ch chan<- prometheus.Metric) {
	summed := map[string]bool{} // stores whose sums are reported
	for _, one := range c.caches {
		st, path, region := one.Stats(), one.Store().Path(), one.Region()
		if one.Store().Closed() {
			continue
		}
		for _, g := range cacheGauges {
			ch <- prometheus.MustNewConstMetric(g.desc, gauge, float64(g.of(st)), path, region)
		}
		for i, n := range cacheCounts {
			ch <- prometheus.MustNewConstMetric(ofHandle[i], counter, float64(n.of(st.Counts)), path, region)
			if !summed[path] {
				ch <- prometheus.MustNewConstMetric(ofAll[i], counter, float64(n.of(st.All)), path)
			}
		}
		summed[path] = true
	}
}
