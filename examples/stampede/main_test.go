package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/examples/internal/exampletest"
)

func TestMain(m *testing.M) { exampletest.Main(m, main) }

// results returns how many goroutines got a value, the values, and the last line.
func results(t *testing.T, lines []string) (goroutines int, values map[string]bool, last string) {
	t.Helper()
	values = map[string]bool{}
	for _, line := range lines[:len(lines)-1] {
		var n int
		var value string
		_, err := fmt.Sscanf(line, "%d goroutines got %q", &n, &value)
		require.NoError(t, err, line)
		goroutines += n
		values[value] = true
	}
	return goroutines, values, lines[len(lines)-1]
}

// 200 goroutines in 4 processes ask for one key, and the creator is killed: create is called
// twice, and all goroutines that are left have the value of the second call.
func TestStampede(t *testing.T) {
	exampletest.LeavesNothing(t, "/dev/shm/shmkv-stampede-*")
	lines := strings.Split(strings.TrimSpace(exampletest.Run(t)), "\n")
	var asked, procs, killed int
	_, err := fmt.Sscanf(lines[0], "%d goroutines of %d processes wait for process %d,", &asked, &procs, &killed)
	require.NoError(t, err, lines[0])
	require.Equal(t, []int{200, 4}, []int{asked, procs})
	goroutines, values, last := results(t, lines[1:])
	require.Equal(t, 150, goroutines)
	require.Len(t, values, 1)
	require.NotContains(t, values, fmt.Sprint("made by process ", killed))
	require.Equal(t, "calls of create: 2", last)
}

// Without a kill create is called once.
func TestNoKill(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	out := exampletest.Run(t, "-kill=false", "-dir", dir, "-procs", "3", "-goroutines", "20")
	goroutines, values, last := results(t, strings.Split(strings.TrimSpace(out), "\n"))
	require.Equal(t, 60, goroutines)
	require.Len(t, values, 1)
	require.Equal(t, "calls of create: 1", last)
	require.DirExists(t, dir, "a directory that was named is kept")

	// The next run would find the value.
	require.Contains(t, exampletest.Start(t, "-dir", dir).Fail(), "has the cache of another run")
}

// Who stops the program finds nothing of it.
func TestStop(t *testing.T) {
	exampletest.LeavesNothing(t, "/dev/shm/shmkv-stampede-*")
	p := exampletest.Start(t, "-procs", "2", "-goroutines", "2", "-takes", "1h")
	require.Contains(t, p.Line(), "which is killed now")
	p.Signal(syscall.SIGTERM)
	p.Fail()
	require.Empty(t, p.Rest())
}
