// The race detector slows processes down.

//go:build !race

package cache

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/internal/testproc"
	"github.com/seed-869cc763/shmkv/shm"
)

// Processes that ask for the same keys, and are killed and stopped. They count what they do
// in a store of its own, the board.

// startAsker starts a process that asks.
func startAsker(t *testing.T, dir, mode string) *testproc.Child {
	t.Helper()
	return startChild(t, "asker", map[string]string{"DIR": dir, "MODE": mode})
}

// number is a word of the board.
func number(s *shm.Store, word string) int64 {
	n, err := s.Add([]byte(word), 0)
	if err != nil {
		panic(err)
	}
	return n
}

// reach waits until a word of the board is at least n.
func reach(t *testing.T, board *shm.Store, word string, n int64) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); number(board, word) < n; time.Sleep(200 * time.Microsecond) {
		require.True(t, time.Now().Before(end), "%s is %d, expected %d", word, number(board, word), n)
	}
}

const askers = 50 // goroutines of a process

func init() {
	must := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(3)
		}
	}
	children["asker"] = func() {
		dir := os.Getenv("SHMKV_CACHE_TEST_DIR")
		board, err := shm.Open(dir+"/board", nil)
		must(err)
		c, err := Open(dir+"/cache", nil)
		must(err)
		add := func(word string) int64 {
			n, err := board.Add([]byte(word), 1)
			must(err)
			return n
		}
		switch os.Getenv("SHMKV_CACHE_TEST_MODE") {
		case "crowd": // all ask for one key; the first creator does not end
			var all sync.WaitGroup
			for range askers {
				all.Go(func() {
					add("asking")
					v, err := c.GetOrCreate(context.Background(), []byte("key"), func(context.Context) ([]byte, error) {
						n := add("created")
						if n == 1 {
							_, err := board.Add([]byte("creator"), int64(os.Getpid()))
							must(err)
							select {}
						}
						return fmt.Append(nil, n), nil
					}, WithLease(time.Hour))
					must(err)
					if string(v) != "2" {
						must(fmt.Errorf("found %q", v))
					}
					add("done")
				})
			}
			all.Wait()
		case "slow": // one that is stopped while it creates
			v, err := c.GetOrCreate(context.Background(), []byte("key"), func(context.Context) ([]byte, error) {
				add("created")
				for number(board, "go on") == 0 {
					time.Sleep(time.Millisecond)
				}
				return []byte("late"), nil
			}, WithLease(300*time.Millisecond))
			must(err)
			if string(v) != "late" {
				must(fmt.Errorf("found %q", v))
			}
		case "storm": // creates without pause, and is killed at any time
			me, err := board.Owner()
			must(err)
			for i := 0; ; i++ {
				key := strconv.Itoa(i % 20)
				v, err := c.GetOrCreate(context.Background(), []byte(key), func(context.Context) ([]byte, error) {
					// Nobody else creates the key now. A process that ends closes the board
					// before the cache, because it has opened it before.
					word := []byte("creating " + key)
					old, existed, err := board.Swap(word, binary.LittleEndian.AppendUint64(nil, uint64(me)))
					must(err)
					if existed {
						alive, err := board.Alive(shm.Owner(binary.LittleEndian.Uint64(old)))
						must(err)
						if alive {
							add("faults")
						}
					}
					runtime.Gosched()
					_, err = board.Delete(word)
					must(err)
					return []byte("value of " + key), nil
				})
				must(err)
				if string(v) != "value of "+key {
					must(fmt.Errorf("%s: found %q", key, v))
				}
				if _, err := c.Delete([]byte(key)); err != nil {
					must(err)
				}
				add("rounds")
			}
		}
		must(c.Close())
		must(board.Close())
	}
}

func openBoard(t *testing.T) (dir string, board *shm.Store) {
	dir = testdir.Memory(t)
	board, err := shm.Open(dir+"/board", nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, board.Close()) })
	return dir, board
}

// 200 goroutines in 4 processes ask for one key. The creator is killed. create is called
// exactly twice.
func TestCreatorIsKilled(t *testing.T) {
	for range 5 {
		dir, board := openBoard(t)
		all := map[int64]*testproc.Child{}
		for range 4 {
			a := startAsker(t, dir, "crowd")
			all[int64(a.Process.Pid)] = a
		}
		reach(t, board, "creator", 1)
		reach(t, board, "asking", 4*askers)
		creator := number(board, "creator")
		begun := time.Now()
		require.NoError(t, all[creator].Process.Kill())
		reach(t, board, "done", 1)
		t.Logf("from the SIGKILL to the first value: %v", time.Since(begun))
		reach(t, board, "done", 3*askers)
		for pid, a := range all {
			if pid != creator {
				a.Wait(t)
			}
		}
		require.EqualValues(t, 2, number(board, "created"))
		require.EqualValues(t, 3*askers, number(board, "done"))
	}
}

// A creator is stopped for longer than its lease. Another one takes over, and when the first
// one goes on it stores nothing.
func TestCreatorIsStopped(t *testing.T) {
	dir, board := openBoard(t)
	slow := startAsker(t, dir, "slow")
	reach(t, board, "created", 1)
	require.NoError(t, slow.Process.Signal(syscall.SIGSTOP))
	c, err := Open(dir+"/cache", nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	got(t, c, "key", "in time", gives("in time"))
	_, err = board.Add([]byte("go on"), 1)
	require.NoError(t, err)
	require.NoError(t, slow.Process.Signal(syscall.SIGCONT))
	slow.Wait(t)
	require.Equal(t, "in time", held(t, c, "key"))
	require.Zero(t, claimsLeft(c))
}

// Creators are killed at any time. No key is created by two at once, nobody waits for ever,
// and nothing is left.
func TestCreatorsInAStorm(t *testing.T) {
	dir, board := openBoard(t)
	all := []*testproc.Child{startAsker(t, dir, "storm"), startAsker(t, dir, "storm"), startAsker(t, dir, "storm")}
	for kill := range 10 {
		reach(t, board, "rounds", number(board, "rounds")+200)
		i := kill % len(all)
		require.NoError(t, all[i].Process.Kill())
		<-all[i].Done
		all[i] = startAsker(t, dir, "storm")
	}
	for _, a := range all {
		require.NoError(t, a.Process.Kill())
		<-a.Done
	}
	c, err := Open(dir+"/cache", nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	for i := range 20 {
		key := strconv.Itoa(i)
		got(t, c, key, "value of "+key, gives("value of "+key))
	}
	require.Zero(t, claimsLeft(c))
	require.Zero(t, number(board, "faults"), "creations of a key beside another one")
	_, err = c.Store().Inspect().Adopt()
	require.NoError(t, err)
	rep, err := c.Store().Check(t.Context(), nil)
	require.NoError(t, err)
	require.Zero(t, rep.LeakedBytes)
}
