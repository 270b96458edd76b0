package main

import (
	"bytes"
	"regexp"
	"slices"
	"testing"

	"github.com/seed-869cc763/shmkv/internal/testdir"
)

// Each row of server has samples of both servers, and its goals are in the table.
func TestServer(t *testing.T) {
	t.Parallel()
	cfg := config{
		works: serverWorks(), serverNs: []int{1000}, connections: []int{1, 3}, idleConnections: 20, restartItems: 500,
		serverWrites: 4 << 20, seconds: 0.02, rounds: 1, seed: 1, peers: []string{memcachedName},
		dir: testdir.Memory(t), progress: t.Output(),
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
	var titles []string
	for _, n := range networks {
		for _, s := range []shape{getShape, setShape} {
			for _, k := range cfg.connections {
				titles = append(titles, titleServer(n.title, k, s.title), titleServer(n.title, k, s.title)+", p99")
			}
		}
		for _, s := range []shape{pipeShape, manyShape} {
			titles = append(titles, titleServer(n.title, 1, s.title), titleServer(n.title, 1, s.title)+", server's processor time")
		}
	}
	titles = append(titles, titleInsideGet, titleInsideSet, titleBound, titleStuck, titleIdle(20), titleRestart+": to the first answer")
	for _, title := range titles {
		row := r.row(title, 1000)
		if row == nil {
			row = r.row(title, 500)
		}
		if row == nil {
			t.Errorf("no row %q", title)
			continue
		}
		for _, p := range r.Peers {
			if len(row.Samples[p]) != 1 {
				t.Errorf("%s: %d samples of %s in one round", title, len(row.Samples[p]), p)
			}
		}
	}
	if row := r.row(titleRestart+": items there", 500); row == nil || row.Summary[storeName].Min != 500 {
		t.Errorf("items after a restart: %+v, want 500", row)
	}
	if !slices.Contains(r.Peers, memcachedName) {
		t.Skip("a peer that is not installed:", r.Skipped)
	}
	var table bytes.Buffer
	if err := r.writeTables(&table); err != nil {
		t.Fatal(err)
	}
	for _, goal := range []string{
		`1 connection: get .*≥ 0\.9 × memcached: (reached|missed)\n`,
		`3 connections: set, p99 .*≥ 0\.7692 × memcached: (reached|missed)\n`,
		`get of 32 keys .*≥ 1\.2 × memcached: (reached|missed)\n`,
		`idle connections: .*≤ 6144: (reached|missed)\n`,
		`items there .*≥ 500: reached\n`,
	} {
		if !regexp.MustCompile(goal).Match(table.Bytes()) {
			t.Errorf("no line like %s in\n%s", goal, &table)
		}
	}
}

// A client reports an answer that is not the one it expects.
func TestLoadChecksAnswers(t *testing.T) {
	b := everyServer(t)
	for _, p := range b.servedPeers() {
		s, err := b.startServer(t.Context(), p, task{n: 10}, "unix", "-m", "64")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.remove)
		if err := s.fill(task{n: 10, value: 8}); err != nil {
			t.Fatal(err)
		}
		load := task{work: "server-get", n: 10, value: 8, batch: 1, workers: 1, ops: 1, path: "unix:" + s.address}
		free := func() error { return nil }
		if _, err := runLoad(load, free); err != nil {
			t.Errorf("%s: %v", p.name, err)
		}
		load.n = 1000
		if _, err := runLoad(load, free); err == nil {
			t.Errorf("%s: no error for a key that is absent", p.name)
		}
	}
}

// everyServer returns a bench with all servers that are available here.
func everyServer(t *testing.T) *bench {
	t.Helper()
	b := &bench{dir: testdir.Memory(t), config: config{peers: []string{memcachedName}}}
	if err := b.gather(t.Context()); err != nil {
		t.Fatal(err)
	}
	return b
}
