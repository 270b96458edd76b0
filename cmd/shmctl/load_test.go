package main

import (
	"bytes"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// An interrupt ends load even while it waits for input. A new store disappears. An existing
// store keeps the batches loaded so far.
func TestLoadIsInterrupted(t *testing.T) {
	for _, exists := range []bool{false, true} {
		dir := t.TempDir()
		path := filepath.Join(dir, "store")
		if exists {
			code, _, stderr := runs("", "load", path)
			require.Equal(t, exitOK, code, stderr)
		}
		in, feed, err := os.Pipe()
		require.NoError(t, err)
		var out, errs bytes.Buffer
		code := make(chan int)
		go func() { code <- run([]string{"load", path, "--batch", "1"}, in, &out, &errs) }()
		_, err = feed.WriteString(`{"key":"a","value":"1"}` + "\n")
		require.NoError(t, err)
		require.Eventually(t, func() bool {
			if exists {
				code, _, _ := runs("", "get", path, "a")
				return code == exitOK
			}
			drafts, _ := filepath.Glob(filepath.Join(dir, ".store.tmp-*"))
			return len(drafts) == 1
		}, time.Minute, time.Millisecond)
		require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGTERM))
		require.Equal(t, exitInterrupted, <-code)
		require.Equal(t, "shmctl: load: interrupted\n", errs.String())
		require.Empty(t, out.String())
		names, err := os.ReadDir(dir)
		require.NoError(t, err)
		if exists {
			require.Len(t, names, 1)
			code, out, _ := runs("", "keys", path)
			require.Equal(t, exitOK, code)
			require.Equal(t, "a\n", out)
		} else {
			require.Empty(t, names)
		}
		require.NoError(t, feed.Close())
		require.NoError(t, in.Close())
	}
}
