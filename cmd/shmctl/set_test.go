package main

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// If SHMKV_STORE is set, a user who types KEY VALUE without STORE creates no store KEY.
func TestSetOnTerminal(t *testing.T) {
	_, line := openTerminal(t)
	t.Setenv(storeVariable, t.TempDir())
	t.Chdir(t.TempDir())
	var errs bytes.Buffer
	require.Equal(t, exitUsage, run([]string{"set", "greeting", "hello"}, line, &errs, &errs))
	require.Equal(t, "shmctl: set: found STORE greeting, KEY hello and no VALUE, expected STORE KEY VALUE also where SHMKV_STORE is set, or - as VALUE to type it\n", errs.String())
	made, err := filepath.Glob("*")
	require.NoError(t, err)
	require.Empty(t, made)
}
