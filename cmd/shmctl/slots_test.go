package main

import (
	"encoding/json"
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
)

func TestSlotsShowsPins(t *testing.T) {
	s := newStore(t)
	require.NoError(t, s.Set([]byte("a"), []byte("1")))
	sn, err := s.Snapshot()
	require.NoError(t, err)
	defer func() { require.NoError(t, sn.Close()) }()
	require.NoError(t, s.Set([]byte("a"), []byte("2")))

	code, out, stderr := runs("", "slots", s.Path())
	require.Equal(t, exitOK, code, stderr)
	require.Regexp(t, `(?m)^ *PID +NAME +MODE +STATE +ATTACHED +WRITERS +PINS$`, out)
	require.Regexp(t, `(?m)^ *`+strconv.Itoa(os.Getpid())+` .* read-write +alive .* 1  version `+text.Count(sn.Version())+` \(1 behind\), a snapshot taken now$`, out)
	require.Regexp(t, `(?m) read-only +this one .* 0  none$`, out)

	code, out, stderr = runs("", "slots", s.Path(), "--json")
	require.Equal(t, exitOK, code, stderr)
	var a attached
	require.NoError(t, json.Unmarshal([]byte(out), &a))
	require.Equal(t, sn.Version()+1, a.Version)
	require.Len(t, a.Processes, 2)
	require.Equal(t, uint64(2), a.Processes[0].Slots[0].Commits)
	require.Equal(t, sn.Version(), a.Processes[0].Pins[0].Version)
	require.WithinRange(t, a.Processes[0].Pins[0].Since, a.Processes[0].Started, a.Processes[1].Started)
}
