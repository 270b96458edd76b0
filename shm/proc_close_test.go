// The race detector sees nothing of a mapping, and slows processes down.

//go:build !race

package shm

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/seed-869cc763/shmkv/internal/testdir"
)

func init() {
	// Is killed in the middle of a transaction of many keys.
	children["unfinished"] = func() {
		b, err := openBoard(setting("BOARD"))
		must(err)
		must(mustOpen(setting("PATH"), nil).Update(func(tx *Tx) error {
			for i := range 10_000 {
				must(tx.Set(fmt.Append(nil, "unfinished ", i), testValue(1, 100)))
			}
			b.set(0, 1)
			time.Sleep(time.Minute)
			return nil
		}))
	}

	// Opens, closes and copies stores where the memory for data is limited.
	children["limited"] = func() {
		limit := uint64(2 << 30)
		must(unix.Setrlimit(unix.RLIMIT_DATA, &unix.Rlimit{Cur: limit, Max: limit}))
		path := setting("PATH")
		s := mustOpen(path, nil) // 64 GiB of address space
		must(s.Set([]byte("k"), []byte("v")))
		must(s.Backup(context.Background(), path+"-copy"))
		must(s.Close())
		must(Rewrite(context.Background(), path, nil))
		s = mustOpen(path, nil)
		defer func() { must(s.Close()) }()
		if v, err := s.Get([]byte("k")); err != nil || string(v) != "v" {
			failChild("found %q, %v", v, err)
		}
	}
}

// Close takes no memory that a limit counts.
func TestCloseUnderALimit(t *testing.T) {
	dir := testdir.Memory(t)
	startChild(t, "limited", settings{"PATH": filepath.Join(dir, "store")}).wait(t)
	openSound(t, filepath.Join(dir, "store"))
}

// Close while the same handle adopts what a dead process has left, and while it
// checks the store, does no harm to the store.
func TestCloseBesideAdoption(t *testing.T) {
	dir := testdir.Memory(t)
	rounds := 10
	if testing.Short() {
		rounds = 3
	}
	for round := range rounds {
		path := filepath.Join(dir, fmt.Sprint(round))
		s, err := Open(path, nil)
		require.NoError(t, err)
		require.NoError(t, s.Set([]byte("k"), []byte("v")))
		b := newBoard(t, dir, 1)
		c := startChild(t, "unfinished", settings{"PATH": path, "BOARD": b.path})
		for b.get(0) == 0 {
			time.Sleep(time.Millisecond)
		}
		c.kill(t)
		done := make(chan error, 2)
		go func() { _, err := s.Inspect().Adopt(); done <- err }()
		go func() { _, err := s.Check(context.Background(), nil); done <- err }()
		time.Sleep(time.Duration(round) * 300 * time.Microsecond)
		require.NoError(t, s.Close())
		for range 2 {
			if err := <-done; err != nil && !errors.Is(err, ErrClosed) {
				require.NoError(t, err)
			}
		}
		openSound(t, path)
	}
}
