package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Each verb reports that a directory of other files is not a store, and changes nothing
// in it.
func TestVerbsRefuseOtherThings(t *testing.T) {
	out := t.TempDir()
	s := newStore(t)
	args := map[string][]string{
		"backup": {out + "/backup"}, "check": {"--repair"}, "compact": nil, "del": {"key"}, "drop": {"name"}, "dump": nil, "get": {"key"}, "incr": {"key"},
		"keys": nil, "load": nil, "maps": nil, "map": {"--output", out + "/map.svg"}, "restore": {out + "/restored"}, "set": {"key", "value"},
		"slots": nil, "stat": nil, "sync": nil, "recover": nil, "top": {"--json"}, "watch": {"key"}, "doctor": nil, "diff": {s.Path()},
		"cache evict": {"1MiB"}, "cache flush": nil, "cache get": {"key"}, "cache set": {"key", "value"}, "cache stat": nil, "cache top": {"--json"}, "cache ttl": {"key", "10s"},
		"record export": {out + "/file"}, "record gc": nil, "record get": {"0"}, "record migrate": {out + "/file"}, "record refs": {"0"}, "record stat": nil,
	}
	for _, cmd := range verbs(newRoot()) {
		name := verbOf(cmd)
		more, known := args[name]
		switch {
		case cmd.Hidden:
			continue
		case strings.Contains(cmd.Use, " STORE") || strings.Contains(cmd.Use, " BACKUP"):
			require.True(t, known, "%s takes a store", name)
		case !known:
			continue
		}
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "letter"), []byte("Dear all"), 0o600))
		for path, found := range map[string]string{
			dir:             `not a store: found "letter" in the directory, expected "data" and "procs"`,
			dir + "/letter": "not a store: found a file, expected a directory",
		} {
			code, stdout, stderr := runs(`{"key":"key","value":"value"}`, append(append(strings.Fields(name), path), more...)...)
			want := exitDamaged
			if name == "doctor" {
				want, stderr = exitProblem, stdout
				require.Contains(t, stdout, "-> name the directory of a store")
			}
			require.Equal(t, want, code, "%s: %s", name, stderr)
			require.Contains(t, stderr, found)
			require.NotContains(t, stderr, "damaged")
		}
		require.Equal(t, map[string]string{"letter": "Dear all"}, filesIn(t, dir), name)
	}
	require.Empty(t, filesIn(t, out))
	code, _, stderr := runs("", "compact", out, "--exclusive")
	require.Equal(t, exitFailure, code)
	require.Contains(t, stderr, "no store in the directory")
}
