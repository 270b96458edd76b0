package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
)

// stat --deep shows the space that a snapshot holds, and the process of the snapshot.
func TestStatTellsWhoHolds(t *testing.T) {
	s := newStore(t)
	set := func(value byte) {
		for i := range 300 {
			require.NoError(t, s.Set(fmt.Append(nil, i), bytes.Repeat([]byte{value}, 100)))
		}
	}
	set(1)
	sn, err := s.Snapshot()
	require.NoError(t, err)
	set(2)
	set(3)

	code, out, stderr := runs("", "stat", s.Path(), "--deep")
	require.Equal(t, exitOK, code, stderr)
	require.Regexp(t, fmt.Sprintf(`(?m)^held for pins:\n(?:.*; the last checkpoint\n)?[0-9.]+ KiB +by version %s; shmctl\.test \(pid %d\), a snapshot taken now$`, text.Count(sn.Version()), os.Getpid()), out)

	code, out, stderr = runs("", "stat", s.Path(), "--deep", "--json")
	require.Equal(t, exitOK, code, stderr)
	var st storeStat
	require.NoError(t, json.Unmarshal([]byte(out), &st))
	require.Equal(t, s.Stats(), st.Stats)
	require.Greater(t, st.Deep.HeldBytes, int64(300*100))
	held := st.Deep.Held[len(st.Deep.Held)-1] // the checkpoint on a disk may hold the root node
	require.Greater(t, held.Bytes, int64(300*100))
	require.Equal(t, sn.Version(), held.Version)
	require.Len(t, st.Deep.Processes, 1)
	require.Equal(t, sn.Version(), st.Deep.Processes[0].Pins[0].Version)
	require.Equal(t, st.Commits, st.Deep.Processes[0].Slots[0].Commits)

	require.NoError(t, sn.Close())
	code, out, stderr = runs("", "stat", s.Path(), "--deep")
	require.Equal(t, exitOK, code, stderr)
	require.Regexp(t, `(?m)^held for pins:\n(?:.*; the last checkpoint\n)?.* by version [0-9,]+; nobody any more: it will be freed$`, out)
}
