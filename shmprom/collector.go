// Package shmprom has a collector for Prometheus that reports what shared-memory
// stores hold and do, whichever processes do it:
//
//	prometheus.MustRegister(shmprom.NewCollector(store))
//
// NewCacheCollector reports what the caches in them do.
//
// It is a module of its own, so that who does not use it depends on nothing of
// Prometheus:
//
//	go get github.com/seed-869cc763/shmkv/shmprom
package shmprom

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-869cc763/shmkv/shm"
)

// metrics are what each store reports of its Stats.
var metrics = []struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	of   func(shm.Stats) float64
}{
	{describe("version", "Number of the latest commit."), gauge, func(s shm.Stats) float64 { return float64(s.Version) }},
	{describe("entries", "Keys in the store."), gauge, func(s shm.Stats) float64 { return float64(s.Entries) }},
	{describe("data_bytes", "Bytes of keys and values."), gauge, func(s shm.Stats) float64 { return float64(s.DataBytes) }},
	{describe("live_bytes", "Bytes of the blocks that hold the current version."), gauge, func(s shm.Stats) float64 { return float64(s.LiveBytes) }},
	{describe("free_bytes", "Bytes of free pages with memory behind them, about."), gauge, func(s shm.Stats) float64 { return float64(s.FreeBytes) }},
	{describe("file_bytes", "Length of the file data."), gauge, func(s shm.Stats) float64 { return float64(s.FileBytes) }},
	{describe("allocated_bytes", "Memory or disk behind the store's files."), gauge, func(s shm.Stats) float64 { return float64(s.AllocatedBytes) }},
	{describe("max_bytes", "What the file data can grow to."), gauge, func(s shm.Stats) float64 { return float64(s.MaxSize) }},
	{describe("commits_total", "Transactions committed."), counter, func(s shm.Stats) float64 { return float64(s.Commits) }},
	{describe("changes_total", "Entries that commits set or deleted."), counter, func(s shm.Stats) float64 { return float64(s.Changes) }},
	{describe("lost_commits_total", "Commits that another one overtook, and that were tried again."), counter, func(s shm.Stats) float64 { return float64(s.Lost) }},
	{describe("refused_total", "Tries to write that the store had no space for."), counter, func(s shm.Stats) float64 { return float64(s.Refused) }},
	{describe("freed_blocks_total", "Replaced blocks that were freed."), counter, func(s shm.Stats) float64 { return float64(s.FreedBlocks) }},
	{describe("deferred_blocks_total", "Replaced blocks that were deferred for a pin."), counter, func(s shm.Stats) float64 { return float64(s.DeferredBlocks) }},
	{describe("punched_pages_total", "Free pages whose memory was given back."), counter, func(s shm.Stats) float64 { return float64(s.PunchedPages) }},
	{describe("adopted_slots_total", "Writers' slots taken over from dead processes."), counter, func(s shm.Stats) float64 { return float64(s.AdoptedSlots) }},
}

// What each store reports of its Processes.
var (
	handles     = describe("handles", "Open handles, of all processes.")
	deadHandles = describe("dead_handles", "Handles whose process died, and that wait for adoption.")
	snapshots   = describe("pinned_versions", "Versions that snapshots keep, counted for each handle.")
	oldest      = describe("oldest_snapshot_seconds", "Age of the oldest snapshot's pin, 0 without one.")
)

const (
	gauge   = prometheus.GaugeValue
	counter = prometheus.CounterValue
)

func describe(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("shmkv_"+name, help, []string{"store"}, nil)
}

type collector struct{ stores []*shm.Store }

// NewCollector returns a collector for the given open stores, to be registered.
// Each metric has the label store, the path that the store was opened with, so
// these must differ. A store that is closed reports nothing more. What all
// processes do is counted in the store: one of them is enough to report it.
func NewCollector(stores ...*shm.Store) prometheus.Collector { return collector{stores} }

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range metrics {
		ch <- m.desc
	}
	for _, desc := range []*prometheus.Desc{handles, deadHandles, snapshots, oldest} {
		ch <- desc
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	for _, s := range c.stores {
		st := s.Stats()
		if st == (shm.Stats{}) {
			continue
		}
		for _, m := range metrics {
			ch <- prometheus.MustNewConstMetric(m.desc, m.kind, m.of(st), s.Path())
		}
		collectProcesses(s, ch)
	}
}

// collectProcesses reports who is attached. A handle that may not write to the
// file procs cannot tell, nor can one that is closed meanwhile.
func collectProcesses(s *shm.Store, ch chan<- prometheus.Metric) {
	all, err := s.Inspect().Processes()
	if err != nil {
		return
	}
	var dead, pins int
	var age time.Duration
	for _, p := range all {
		if !p.Alive {
			dead++
		}
		for _, pin := range p.Pins {
			if !pin.Writer {
				pins++
				age = max(age, time.Since(pin.Since))
			}
		}
	}
	for desc, value := range map[*prometheus.Desc]float64{
		handles: float64(len(all)), deadHandles: float64(dead), snapshots: float64(pins), oldest: age.Seconds(),
	} {
		ch <- prometheus.MustNewConstMetric(desc, gauge, value, s.Path())
	}
}
