package main

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/doctor"
)

// doctorOn returns a finding of doctor --json. Other findings depend on the machine.
func doctorOn(t *testing.T, check string, args ...string) doctor.Finding {
	t.Helper()
	code, out, stderr := runs("", append([]string{"doctor", "--json"}, args...)...)
	require.Contains(t, []int{exitOK, exitProblem}, code, stderr)
	var r doctor.Report
	require.NoError(t, json.Unmarshal([]byte(out), &r))
	i := slices.IndexFunc(r.Findings, func(f doctor.Finding) bool { return f.Check == check })
	require.GreaterOrEqual(t, i, 0, "no %s in %s", check, out)
	return r.Findings[i]
}

// Two processes die with a snapshot open. The handle of doctor takes the entry of one, and
// doctor finds the other.
func TestDoctorFindsDead(t *testing.T) {
	s := newStore(t)
	require.NoError(t, s.Set([]byte("a"), []byte("1")))
	victims := []*watching{startWatch(t, s.Path(), "--all"), startWatch(t, s.Path(), "--all")}
	for _, w := range victims {
		w.line()
	}
	for _, w := range victims {
		require.NoError(t, w.cmd.Process.Kill())
		w.exit()
	}
	f := doctorOn(t, "processes", s.Path())
	require.Equal(t, doctor.Warning, f.Level)
	require.Regexp(t, `^1 process died with the store open: pid \d+ \(shmctl\)$`, f.Found)
	require.Contains(t, f.Advice, "shmctl check "+s.Path())
	code, _, _ := runs("", "check", s.Path())
	require.Equal(t, exitOK, code)
	require.Equal(t, doctor.OK, doctorOn(t, "processes", s.Path()).Level)
}

// Without a store the verb examines this machine.
func TestDoctorHere(t *testing.T) {
	require.Contains(t, doctorOn(t, "file system").Found, doctor.SharedMemory+" is on ")
	require.NotEmpty(t, doctorOn(t, "kernel").Found)
}
