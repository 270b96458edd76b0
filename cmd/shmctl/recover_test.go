package main

import (
	"encoding/json"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/shm"
)

func TestRecover(t *testing.T) {
	path := filepath.Join(testdir.Disk(t), "store")
	s, err := shm.Open(path, nil)
	require.NoError(t, err)
	require.NoError(t, s.Set([]byte("key"), []byte("value")))
	require.NoError(t, s.Close())

	code, out, stderr := runs("", "recover", path)
	require.Equal(t, exitOK, code, stderr)
	require.Equal(t, path+": no recovery is needed\n", out)

	testdir.CrashSystem(t, path)
	before := filesIn(t, path)
	for range 2 {
		code, out, stderr = runs("", "recover", path, "--dry-run")
		require.Equal(t, exitOK, code, stderr)
		require.Regexp(t, `^`+path+`: can be recovered; checkpoint of version 2, 0s old, with 1 entry in [0-9]+ B; traced in .*\n$`, out)
	}
	require.Equal(t, before["data"], filesIn(t, path)["data"])

	code, out, stderr = runs("", "recover", path, "--json")
	require.Equal(t, exitOK, code, stderr)
	var r recovered
	require.NoError(t, json.Unmarshal([]byte(out), &r))
	require.Equal(t, uint64(2), r.Recovery.Version)
	require.Equal(t, int64(1), r.Recovery.Entries)

	code, out, stderr = runs("", "recover", path)
	require.Equal(t, exitOK, code, stderr)
	require.Equal(t, path+": no recovery is needed\n", out)
	code, out, stderr = runs("", "get", path, "key")
	require.Equal(t, exitOK, code, stderr)
	require.Equal(t, "value", out)

	code, _, stderr = runs("", "recover", filepath.Join(path, "absent"))
	require.Equal(t, exitFailure, code, stderr)
}
