package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/seed-869cc763/shmkv/internal/testdir"
)

// Each row of durable has a sample of each round for each peer that supports it.
func TestDurable(t *testing.T) {
	t.Parallel()
	cfg := config{
		works: expand([]string{durable}), durableNs: []int{1000}, durableSeconds: 0.05, rounds: 2, seed: 1,
		peers: []string{"lmdb", "bbolt", "xsync"}, dir: testdir.Disk(t), progress: t.Output(),
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
	if len(r.Skipped) != 1 || !strings.HasPrefix(r.Skipped[0], "bbolt: "+titleCommitOfProcesses) {
		t.Skip("a peer that is not installed:", r.Skipped)
	}
	r.summarize()

	const ofAll = "shm lmdb bbolt"
	for work, peers := range map[string]string{
		titleCommitOf1 + ": commits":                           ofAll,
		titleCommitOf1 + ": a commit, p99":                     ofAll,
		titleCommitGoroutines + ": commits":                    ofAll,
		titleCommitBatched + ": commits":                       "shm bbolt",
		titleCommitOfProcesses + ": commits":                   "shm lmdb",
		titleInterval(1) + ": sets":                            "shm",
		titleInterval(durableOf) + ": a set, longest":          "shm",
		titleOnSync(1) + ": checkpoints":                       "shm",
		titleInterval(durableOf) + ": to on Sync only":         "shm",
		titleSync + ", p50":                                    ofAll,
		titleSync + ", p99":                                    ofAll,
		titleRecovery + ", pages in memory":                    "shm",
		titleRecovery + ", pages on the disk: recovery":        "shm",
		titleRecovery + ", pages on the disk: bytes of blocks": "shm",
		titleClean + ", pages in memory":                       "shm",
	} {
		row := r.row(work, 1000)
		if row == nil {
			t.Errorf("no row %q", work)
			continue
		}
		for _, p := range r.Peers {
			samples, has := len(row.Samples[p]), strings.Contains(peers, p)
			if has != (samples == cfg.rounds) || !has && samples > 0 {
				t.Errorf("%s: %d samples of %s in %d rounds", work, samples, p, cfg.rounds)
			}
			if _, ok := row.Ratios[p]; ok != (has && p != storeName) {
				t.Errorf("%s: the ratio to %s: %v", work, p, ok)
			}
		}
	}
	if s := r.row(titleRecovery+", pages in memory: entries", 1000).Summary[storeName]; s.Min != 1000 || s.Max != 1000 {
		t.Errorf("recovered %v to %v entries, want 1000", s.Min, s.Max)
	}
	var table bytes.Buffer
	if err := r.writeTables(&table); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(table.String(), "only one process can have it open") {
		t.Errorf("incomplete table:\n%s", &table)
	}
}

// Durable commits of a file system that is in memory cannot be measured.
func TestDurableNeedsDisk(t *testing.T) {
	dir := testdir.Memory(t)
	if inMemory(dir) == "" {
		t.Skip("found no tmpfs")
	}
	err := config{works: []string{"get", "durable-sync"}, dir: dir}.validate()
	if err == nil || !strings.Contains(err.Error(), "is in memory (tmpfs)") {
		t.Errorf("stores in %s: %v", dir, err)
	}
	if err := (config{works: allWorks(), dir: dir}).validate(); err != nil {
		t.Error(err)
	}
}
