package main

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/examples/internal/exampletest"
	"github.com/seed-869cc763/shmkv/shm"
)

func TestMain(m *testing.M) { exampletest.Main(m, main) }

// No visit is lost, whichever processes count them at the same time.
func TestProcesses(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	for run := 1; run <= 2; run++ {
		out := exampletest.Run(t, "-store", dir, "-procs", "3", "-visits", "200")
		var s Session
		require.NoError(t, json.Unmarshal([]byte(out), &s), out)
		n := 200 * run // the store is kept, for it was named
		require.Equal(t, Session{"alice", 3 * n, map[string]int{"worker1": n, "worker2": n, "worker3": n}}, s)
	}
}

func TestTemporaryStore(t *testing.T) {
	exampletest.LeavesNothing(t, "/dev/shm/shmkv-typed-*")
	require.Contains(t, exampletest.Run(t, "-procs", "1", "-visits", "1"), `"visits":1,`)
}

// Who stops the program finds nothing of it.
func TestStop(t *testing.T) {
	exampletest.LeavesNothing(t, "/dev/shm/shmkv-typed-*")
	p := exampletest.Start(t, "-procs", "2", "-visits", "1000000000")
	time.Sleep(50 * time.Millisecond)
	p.Signal(syscall.SIGTERM)
	p.Fail()
	require.Empty(t, p.Rest())
}

func TestTyped(t *testing.T) {
	store, err := shm.Open(t.TempDir(), nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	type point struct{ X, Y int }
	points := NewTyped[point](store, "point/")

	_, err = points.Get("a")
	require.ErrorIs(t, err, shm.ErrNotFound)
	require.NoError(t, points.Set("a", point{1, 2}))
	require.NoError(t, points.Update("a", func(p *point) error { p.Y++; return nil }))
	require.NoError(t, points.Update("b", func(p *point) error { p.X--; return nil }))
	a, err := points.Get("a")
	require.NoError(t, err)
	require.Equal(t, point{1, 3}, a)
	b, err := points.Get("b")
	require.NoError(t, err)
	require.Equal(t, point{-1, 0}, b)

	// What fails changes nothing.
	refused := errors.New("refused")
	version := store.Version()
	require.ErrorIs(t, points.Update("a", func(p *point) error { p.X = 9; return refused }), refused)
	require.Equal(t, version, store.Version())

	// A value of something else is an error that names the key, not a zero.
	require.NoError(t, store.Set([]byte("point/c"), []byte(`"text"`)))
	_, err = points.Get("c")
	require.ErrorContains(t, err, "the value of point/c is no main.point")
	require.ErrorContains(t, points.Update("c", func(*point) error { return nil }), "the value of point/c is no main.point")
}
