// The race detector sees nothing of a mapping, and slows processes down.

//go:build !race

package counter

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testproc"
	"github.com/seed-869cc763/shmkv/shm"
)

func init() { children["adder"] = runAdder }

const manyKeys = 300

// runAdder adds to a hot counter, to a random one and to one of its own, in one commit each
// time, until it is killed. It writes to a file how many commits it was told of.
func runAdder() {
	must := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, "adder:", err)
			os.Exit(3)
		}
	}
	dir, name := os.Args[1], os.Args[2]
	s, err := shm.Open(filepath.Join(dir, "store"), nil)
	must(err)
	told, err := os.Create(filepath.Join(dir, name))
	must(err)
	c, rng := Open(s, "visits"), rand.New(rand.NewPCG(rand.Uint64(), 0))
	for n := uint64(1); ; n++ {
		random := fmt.Appendf(nil, "many %d", rng.IntN(manyKeys))
		switch n % 3 {
		case 0: // all at once
			must(c.AddMany([]Count{{[]byte("hot"), 1}, {random, 1}, {[]byte(name), 1}}))
		case 1: // two commits for the reader to tell apart
			_, err = c.Add([]byte("hot"), 1)
			must(err)
			must(c.AddMany([]Count{{random, 1}, {[]byte(name), 1}, {[]byte("hot apart"), 1}}))
		case 2:
			b := NewBatch(s)
			b.Add([]byte("visits"), []byte("hot"), 1)
			b.Add([]byte("other"), []byte("hot"), 1)
			b.Add([]byte("visits"), random, 1)
			b.Add([]byte("visits"), []byte(name), 1)
			must(b.Commit())
		}
		_, err = told.WriteAt(binary.LittleEndian.AppendUint64(nil, n), 0)
		must(err)
	}
}

// Eight processes add to one counter and to many, and are killed again and again. Each
// increment that a process was told of counts once, and the one it was at once or not at all.
func TestKills(t *testing.T) {
	dir := t.TempDir()
	s, err := shm.Open(filepath.Join(dir, "store"), nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	rng := newRand(t)
	kills := 24
	if testing.Short() {
		kills = 8
	}
	names, n := []string{}, 0
	start := func() *exec.Cmd {
		name := "adder " + strconv.Itoa(n)
		n++
		names = append(names, name)
		return startAdder(t, dir, name)
	}
	var alive []*exec.Cmd
	for range 8 {
		alive = append(alive, start())
	}
	c, other := Open(s, "visits"), Open(s, "other")
	for k := range kills + len(alive) {
		if k < kills {
			time.Sleep(time.Duration(rng.IntN(30)) * time.Millisecond)
			require.NoError(t, c.Check(t.Context())) // in the middle of it all
		}
		i := rng.IntN(len(alive))
		if k >= kills {
			i = k - kills
		}
		require.NoError(t, alive[i].Process.Kill())
		_ = alive[i].Wait()
		ws := alive[i].ProcessState.Sys().(syscall.WaitStatus)
		require.True(t, ws.Signaled(), "an adder has ended by itself: %v", alive[i].ProcessState)
		if k < kills {
			alive[i] = start()
		}
	}

	commits, lost := int64(0), int64(0)
	for _, name := range names {
		told := int64(0)
		if b, err := os.ReadFile(filepath.Join(dir, name)); err == nil && len(b) == 8 {
			told = int64(binary.LittleEndian.Uint64(b))
		}
		n, err := c.Get([]byte(name))
		if err == shm.ErrNotFound {
			err = nil
		}
		require.NoError(t, err)
		require.LessOrEqual(t, told, n, name)
		require.LessOrEqual(t, n, told+1, name)
		commits += n
		lost += n - told
	}
	require.Positive(t, commits)
	many := int64(0)
	for i := range manyKeys {
		n, err := c.Get(fmt.Appendf(nil, "many %d", i))
		if err != shm.ErrNotFound {
			require.NoError(t, err)
		}
		many += n
	}
	require.Equal(t, commits, many)
	hot, err := c.Get([]byte("hot"))
	require.NoError(t, err)
	require.LessOrEqual(t, commits, hot)
	require.LessOrEqual(t, hot, commits+int64(len(names)), "an adder dies between its two commits at most once")
	apart, err := c.Get([]byte("hot apart"))
	require.NoError(t, err)
	sum, err := c.Sum()
	require.NoError(t, err)
	require.Equal(t, hot+2*commits+apart, sum)
	both, err := other.Get([]byte("hot"))
	require.NoError(t, err)
	require.Less(t, both, commits)
	require.NoError(t, c.Check(t.Context()))
	require.NoError(t, other.Check(t.Context()))
	report, err := s.Check(t.Context(), nil)
	require.NoError(t, err)
	require.Empty(t, report.Problems)
	t.Logf("%d commits of %d processes, %d of them untold", commits, len(names), lost)
}

// startAdder starts an adder that dies with its parent.
func startAdder(t *testing.T, dir, name string) *exec.Cmd {
	cmd := testproc.Command(t, "adder", dir, name)
	cmd.Stderr = os.Stderr
	testproc.Start(t, cmd)
	return cmd
}
