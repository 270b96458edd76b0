package main

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"
)

// A run of ordered reports each of its measurements, for each peer that can make it, with ratios and goals of the
// ordered map.
func TestOrdered(t *testing.T) {
	t.Parallel()
	const n = 1000
	cfg := config{
		works: expand([]string{ordered, "size"}), orderedNs: []int{n}, sizes: []int{200}, overwrites: 500,
		rounds: 2, seconds: 0.01, seed: 1, peers: []string{"lmdb", "bbolt", "btree", namedName, orderedName},
		dir: t.TempDir(), progress: t.Output(),
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
	if len(r.Skipped) > 0 {
		t.Skip("a peer that is not installed:", r.Skipped)
	}
	r.summarize()
	if want := 17; len(r.Speed) != want {
		t.Errorf("%d rows of speed, want %d", len(r.Speed), want)
	}
	// Peers that cannot make a measurement, by the beginning of its title. The others have all of them.
	gaps := map[string][]string{
		"ordered: allocations": {"lmdb"}, "ordered: overwrite, 1000": {"btree"}, "ordered: At": {"lmdb", "bbolt"},
		"ordered: Rank": {"lmdb", "bbolt", "btree"},
	}
	inOrder := []string{"ordered: range", "ordered: scan", titleMin, titleHigher, titleFloor, titleAt, titleRank}
	for _, row := range r.Speed {
		begins := func(title string) bool { return strings.HasPrefix(row.Work, title) }
		for _, p := range r.Peers {
			able := !slices.ContainsFunc(inOrder, begins) || p != storeName && p != namedName
			for title, unable := range gaps {
				able = able && !(begins(title) && slices.Contains(unable, p))
			}
			if found := len(row.Samples[p]); able != (found == cfg.rounds) || !able && found > 0 {
				t.Errorf("%s: %s has samples %v", row.Work, p, row.Samples[p])
			}
			if _, ok := row.Ratios[p]; ok != (able && row.Unit == nanosPerOp && p != orderedName) {
				t.Errorf("%s: the ratio to %s: %v", row.Work, p, ok)
			}
		}
		if row.Of != orderedName {
			t.Errorf("%s is about %q", row.Work, row.Of)
		}
	}
	if row := r.row(titleOrderedGet, n); len(row.Goals) != 3 || strings.Count(row.verdict(), "ed;") != 2 {
		t.Errorf("goals of a get: %q", row.verdict())
	}
	var table bytes.Buffer
	if err := r.writeTables(&table); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{orderedName + " is faster", "it is faster than a get", "× lmdb: "} {
		if !strings.Contains(table.String(), text) {
			t.Errorf("the table does not contain %q:\n%s", text, &table)
		}
	}
}

// The space of an ordered map has goals in two states of large stores.
func TestGoalOfSpace(t *testing.T) {
	store := peer{name: orderedName}
	for _, c := range []struct {
		peer  peer
		state string
		n     int
		want  float64
	}{
		{store, stateLoaded, 100_000, 1.6}, {store, stateOverwritten, 100_000, 1.8}, {store, "everything deleted", 100_000, 0},
		{store, stateLoaded, 1000, 0}, {peer{name: storeName}, stateLoaded, 100_000, 0},
	} {
		var got float64
		if g := goalOfSpace(c.peer, c.state, c.n); g != nil {
			got = g.AtMost
		}
		if got != c.want {
			t.Errorf("the goal of %s, %s, %d entries is %v, want %v", c.peer.name, c.state, c.n, got, c.want)
		}
	}
	row := spaceRow{Entries: 100_000, Goal: &goal{AtMost: 1.6}}
	for perByte, want := range map[float64]string{1.5: "≤ 1.6: reached", 1.7: "≤ 1.6: missed"} {
		row.Allocated = int64(perByte * float64(payload(row.Entries, valueBytes)))
		if got := row.verdict(); got != want {
			t.Errorf("%v bytes a byte: %q, want %q", perByte, got, want)
		}
	}
}

// A row may be about another peer than the store, and have several goals.
func TestRowOfAnotherPeer(t *testing.T) {
	r := report{}
	for name, sample := range map[string]float64{storeName: 10, "lmdb": 30, orderedName: 20} {
		r.add("get", 1, nanosPerOp, peer{name: name}, sample)
	}
	r.aimOrdered("get", 1, goal{AtLeast: 1.5, Peer: "lmdb"}, goal{AtLeast: 0.75, Peer: storeName}, goal{AtMost: 20})
	r.summarize()
	row := r.row("get", 1)
	if got, want := row.verdict(), "≥ 1.5 × lmdb: reached; ≥ 0.75 × shm: missed; ≤ 20: reached"; got != want {
		t.Errorf("verdict %q, want %q", got, want)
	}
	if _, ok := row.Ratios[orderedName]; ok || row.Ratios["lmdb"].Median != 1.5 || row.Ratios[storeName].Median != 0.5 {
		t.Errorf("ratios %v", row.Ratios)
	}
}

// ascendingIndices is a permutation in the order of the keys, and tables visit entries in this order.
func TestAscending(t *testing.T) {
	const n = 300
	indices := ascendingIndices(n)
	for _, name := range []string{orderedName, "bbolt", "btree"} {
		tab, err := goPeers[name].open(task{work: "load", path: t.TempDir() + "/store"})
		if err != nil {
			t.Fatal(name, err)
		}
		defer tab.close()
		w := newWorker(tab, task{n: n, value: valueBytes, batch: 1}, 0)
		for i := range uint64(n) {
			if err := w.load(i); err != nil {
				t.Fatal(name, err)
			}
		}
		var visited []uint64
		each := func(key, value []byte) error {
			visited = append(visited, binary.BigEndian.Uint64(key[8:]))
			return nil
		}
		var from [keyBytes]byte
		putKey(from[:], indices[100])
		for _, c := range []struct {
			from []byte
			n    int
			want []uint64
		}{{nil, n, indices}, {from[:], 10, indices[100:110]}, {from[:], n, indices[100:]}} {
			visited = nil
			if err := tab.(orderedTable).ascend(c.from, c.n, each); err != nil || !slices.Equal(visited, c.want) {
				t.Errorf("%s: %v, visited %v, want %v", name, err, visited, c.want)
			}
		}
	}
}
