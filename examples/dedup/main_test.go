package main

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/examples/internal/exampletest"
	"github.com/seed-869cc763/shmkv/shm"
)

func TestMain(m *testing.M) { exampletest.Main(m, main) }

// jobsOf returns who ran each job, by what the workers print.
func jobsOf(t *testing.T, out string) map[string]string {
	t.Helper()
	ran := map[string]string{}
	for line := range strings.Lines(out) {
		if job, by, ok := strings.Cut(strings.TrimSpace(line), ", "+done); ok {
			require.NotContains(t, ran, job, "it ran twice")
			ran[job] = by
		}
	}
	return ran
}

func TestEachJobOnce(t *testing.T) {
	exampletest.LeavesNothing(t, "/dev/shm/shmkv-dedup-*")
	out := exampletest.Run(t, "-jobs", "60", "-workers", "4")
	require.NotContains(t, out, "replacing")
	ran := jobsOf(t, out)
	require.Len(t, ran, 60)
	by := map[string]bool{}
	for _, worker := range ran {
		by[worker] = true
	}
	require.Greater(t, len(by), 1, "they share the work")
}

// A worker that is killed while it runs a job is replaced, and its job is run by another.
func TestDeath(t *testing.T) {
	const jobs = "400" // so many that each worker gets some, also if it starts late
	dir := filepath.Join(t.TempDir(), "store")
	out := exampletest.Run(t, "-store", dir, "-jobs", jobs, "-workers", "2", "-crash", "3")
	require.Equal(t, 1, strings.Count(out, "replacing a worker: signal: killed\n"), out)
	require.Len(t, jobsOf(t, out), 400)
	s, err := shm.Open(dir, &shm.Options{ReadOnly: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	require.Equal(t, 400, s.Len())
	for i := range 400 {
		state, err := s.Get(fmt.Appendf(nil, "job %d", i+1))
		require.NoError(t, err)
		require.Contains(t, string(state), done)
	}
	// What is done stays done.
	require.Empty(t, exampletest.Run(t, "-store", dir, "-jobs", jobs, "-workers", "2"))
}

// The only worker dies: the store alone tells what is to be done.
func TestDeathOfAll(t *testing.T) {
	out := exampletest.Run(t, "-jobs", "5", "-workers", "1", "-crash", "5")
	require.Len(t, jobsOf(t, out), 5)
	require.Contains(t, out, "replacing")
}

// A run that is stopped ends soon, and the next one does the rest.
func TestStop(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	p := exampletest.Start(t, "-store", dir, "-jobs", "10000", "-workers", "2")
	first := p.Line() + "\n"
	p.Signal(syscall.SIGTERM)
	require.NotEmpty(t, p.Fail())
	before := jobsOf(t, first+p.Rest())
	require.Less(t, len(before), 10000)
	all := strconv.Itoa(len(before) + 20)
	after := jobsOf(t, exampletest.Run(t, "-store", dir, "-jobs", all, "-workers", "2"))
	require.Len(t, after, 20)
	for job := range before {
		require.NotContains(t, after, job, "it ran twice")
	}
}
