package main

import (
	"encoding/json"
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
		var s Visitor
		require.NoError(t, json.Unmarshal([]byte(out), &s), out)
		n := 200 * run // the store is kept, for it was named
		require.Equal(t, Visitor{"alice", 3 * n, map[string]int{"worker1": n, "worker2": n, "worker3": n}}, s)
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

// A value of something else is an error that names the key, and the program says so.
func TestDamagedValue(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	store, err := shm.Open(dir, nil)
	require.NoError(t, err)
	require.NoError(t, store.Map("visitors").Set([]byte("alice"), []byte(`"text"`)))
	require.NoError(t, store.Close())
	p := exampletest.Start(t, "-store", dir, "-procs", "1", "-visits", "1")
	require.Contains(t, p.Fail(), `decoding the value of "alice": found bytes that are not of the type main.Visitor: json: `)
}
