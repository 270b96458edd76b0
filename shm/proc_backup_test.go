// The race detector sees nothing of a mapping, and slows processes down.

//go:build !race

package shm

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
)

func init() {
	// Makes backups, and removes each, until it is killed.
	children["backup"] = func() {
		s := mustOpen(setting("PATH"), &Options{ReadOnly: true})
		b, err := openBoard(setting("BOARD"))
		must(err)
		for i := uint64(1); ; i++ {
			b.set(0, i)
			must(s.Backup(context.Background(), setting("TO")))
			time.Sleep(5 * time.Millisecond)
			must(os.Rename(setting("TO"), setting("TO")+"-old"))
			must(os.RemoveAll(setting("TO") + "-old"))
		}
	}
}

// TestKilledBackup: whenever a process is killed while it makes a backup, there
// is all of it or nothing, and the next backup removes what was left.
func TestKilledBackup(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("left out with the race detector, which sees nothing here")
	}
	dir := testdir.Memory(t)
	rng := newRand(t)
	s := mustOpen(dir+"/store", nil)
	defer func() { require.NoError(t, s.Close()) }()
	const n = 5000
	for i := range n {
		require.NoError(t, s.Set(imageKey(i), imageValue(i)))
	}
	require.NoError(t, os.Mkdir(dir+"/to", 0o700))
	to := dir + "/to/backup"
	board := newBoard(t, dir, 1)
	rounds := 25
	if testing.Short() {
		rounds = 5
	}
	whole, left := 0, 0
	for range rounds {
		board.set(0, 0)
		c := startChild(t, "backup", settings{"PATH": dir + "/store", "TO": to, "BOARD": board.path})
		board.await(t, c, 0, 1)
		time.Sleep(time.Duration(rng.IntN(40000)) * time.Microsecond)
		c.kill(t)
		require.NoError(t, os.RemoveAll(to+"-old"))

		before, err := os.ReadDir(dir + "/to")
		require.NoError(t, err)
		if _, err := os.Stat(to); err == nil {
			whole++
			b := mustOpen(to, &Options{ReadOnly: true})
			checkSound(t, b)
			require.Equal(t, n, b.Len())
			for i := range n {
				got, err := b.Get(imageKey(i))
				require.NoError(t, err)
				require.True(t, bytes.Equal(imageValue(i), got))
			}
			require.NoError(t, b.Close())
			require.NoError(t, os.RemoveAll(to))
		} else if require.ErrorIs(t, err, fs.ErrNotExist); len(before) > 0 {
			left++
		}
		require.NoError(t, s.Backup(context.Background(), to))
		after, err := os.ReadDir(dir + "/to")
		require.NoError(t, err)
		require.Len(t, after, 1, "nothing but the backup")
		require.NoError(t, os.RemoveAll(to))
	}
	t.Logf("of %d killed, %d had made a backup, %d left a part of one", rounds, whole, left)
	require.Positive(t, left, "none was killed in the middle")
	checkSound(t, s)
}
