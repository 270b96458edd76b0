// The race detector sees nothing of a mapping, and slows processes down.

//go:build !race

package shm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
)

// Processes that wait on bells, and for the deaths of each other.

// toLead waits until the key is this handle's: nobody's, or that of a dead one.
func toLead(ctx context.Context, s *Store, key []byte) error {
	me, err := s.Owner()
	if err != nil {
		return err
	}
	var failed error
	err = s.Bell(1).Await(ctx, func() (Owner, bool) {
		for {
			old, err := s.Get(key)
			var leader Owner
			if err == nil {
				leader = Owner(binary.LittleEndian.Uint64(old))
				var alive bool
				if alive, failed = s.Alive(leader); alive {
					return leader, false
				}
			} else if !errors.Is(err, ErrNotFound) {
				failed = err
			}
			if failed != nil {
				return 0, true
			}
			won := false
			if won, failed = s.CompareAndSwap(key, old, binary.LittleEndian.AppendUint64(nil, uint64(me))); won || failed != nil {
				return 0, true
			}
		}
	})
	return errors.Join(err, failed)
}

// The words of the board.
const (
	boardLeader = iota // the number of the process that leads
	boardTerms         // how often one began to lead
	boardFaults        // who led beside another one
	boardBegun         // when the last one began
	boardReady         // processes that were started
	boardLeave         // the leader is to go
	boardLeaders
)

func init() {
	// A candidate waits until it leads, and leads until it is told to leave.
	children["candidate"] = func() {
		b, err := openBoard(setting("BOARD"))
		must(err)
		s := mustOpen(setting("PATH"), nil)
		id := uint64(settingInt("ID"))
		b.Add(boardReady*8, 1)
		for {
			must(toLead(context.Background(), s, []byte("leader")))
			b.set(boardBegun, uint64(clock()))
			b.set(boardLeader, id)
			b.Add(boardTerms*8, 1)
			for b.get(boardLeave) != id {
				if b.get(boardLeader) != id {
					b.set(boardFaults, id)
				}
				time.Sleep(100 * time.Microsecond)
			}
			b.set(boardLeave, 0)
			_, err := s.Delete([]byte("leader"))
			must(err)
			must(s.Bell(1).Ring())
		}
	}

	// A crowd is many goroutines that wait for one ring.
	children["crowd"] = func() {
		b, err := openBoard(setting("BOARD"))
		must(err)
		s := mustOpen(setting("PATH"), nil)
		owner := Owner(settingInt("OWNER"))
		n := int(settingInt("COUNT"))
		goAll(n, func(g int) {
			first := true
			must(s.Bell(uint64(g%8)).Await(context.Background(), func() (Owner, bool) {
				if first {
					b.Add(0, 1)
					first = false
				}
				return owner, b.get(1) != 0
			}))
			b.Add(16, 1)
		})
		must(s.Close())
	}

	// A ringer hands numbers on without pause.
	children["ringer"] = func() {
		b, err := openBoard(setting("BOARD"))
		must(err)
		s := mustOpen(setting("PATH"), nil)
		bell := s.Bell(1)
		for {
			n := b.Add(0, 1)
			must(s.Set([]byte("number"), testValue(n, 10)))
			must(bell.Ring())
			if n%64 == 0 {
				time.Sleep(10 * time.Microsecond) // others sleep again
			}
		}
	}
}

// Leaders are killed, stopped and relieved. Exactly one other process takes over from one
// that is dead or has left, and nobody from one that is stopped.
func TestTakeoverAmongProcesses(t *testing.T) {
	rnd := newRand(t)
	dir := testdir.Memory(t)
	path := filepath.Join(dir, "store")
	b := newBoard(t, dir, boardLeaders)
	all := map[uint64]*child{}
	started := uint64(0)
	start := func() {
		started++
		all[started] = startChild(t, "candidate", settings{"PATH": path, "BOARD": b.path, "ID": fmt.Sprint(started)})
		b.await(t, all[started], boardReady, started)
	}
	for range 4 {
		start()
	}
	kills, longest := 0, time.Duration(0)
	for term := uint64(1); term <= 24; term++ {
		var any *child
		for _, any = range all {
			break
		}
		b.await(t, any, boardTerms, term)
		require.Equal(t, term, b.get(boardTerms), "terms")
		leader := b.get(boardLeader)
		switch c := all[leader]; {
		case term%6 == 0:
			c.signal(syscall.SIGSTOP)
			time.Sleep(200 * time.Millisecond)
			require.Equal(t, term, b.get(boardTerms), "somebody took over from a process that is stopped")
			c.signal(syscall.SIGCONT)
			b.set(boardLeave, leader)
		case term%3 == 0:
			b.set(boardLeave, leader)
		default:
			time.Sleep(time.Duration(rnd.IntN(60_000)) * time.Microsecond)
			begin := clock()
			c.kill(t)
			delete(all, leader)
			kills++
			for _, any = range all {
				break
			}
			b.await(t, any, boardTerms, term+1)
			longest = max(longest, time.Duration(int64(b.get(boardBegun))-begin))
			start()
		}
	}
	require.Zero(t, b.get(boardFaults), "a process led beside another one")
	t.Logf("%d leaders were killed; the longest time until another one led: %v", kills, longest)
	for _, c := range all {
		c.kill(t)
	}
	openSound(t, path)
}

// awaitStopped waits until all threads of a child that was sent SIGSTOP are stopped.
func (c *child) awaitStopped(t testing.TB) {
	t.Helper()
	for running := true; running; time.Sleep(time.Millisecond) {
		stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", c.cmd.Process.Pid))
		require.NoError(t, err)
		running = false
		for _, path := range stats {
			stat, err := os.ReadFile(path)
			_, state, _ := strings.Cut(string(stat), ") ")
			running = running || err != nil || !strings.HasPrefix(state, "T")
		}
	}
}

// Thousands of goroutines wait with few threads. Their process, stopped and continued,
// hears the bells.
func TestCrowdNeedsFewThreads(t *testing.T) {
	dir := testdir.Memory(t)
	s, err := Open(filepath.Join(dir, "store"), nil)
	require.NoError(t, err)
	defer func() { _ = s.Close() }()
	me, err := s.Owner()
	require.NoError(t, err)
	const n = 5000
	b := newBoard(t, dir, 3)
	c := startChild(t, "crowd", settings{"PATH": s.Path(), "BOARD": b.path, "OWNER": fmt.Sprint(uint64(me)), "COUNT": fmt.Sprint(n)})
	b.await(t, c, 0, n)
	time.Sleep(20 * time.Millisecond) // all of them wait, as a rule
	proc := fmt.Sprintf("/proc/%d/", c.cmd.Process.Pid)
	threads, err := os.ReadDir(proc + "task")
	require.NoError(t, err)
	require.Less(t, len(threads), 100, "threads, of %d goroutines that wait", n)
	t.Logf("%d goroutines wait with %d threads", n, len(threads))

	c.signal(syscall.SIGSTOP)
	c.awaitStopped(t)
	b.set(1, 1)
	for i := range uint64(8) {
		require.NoError(t, s.Bell(i).Ring())
	}
	require.Zero(t, b.get(2))
	c.signal(syscall.SIGCONT)
	b.await(t, c, 2, n)
	c.wait(t)
}

// Waiters and ringers are killed at any moment. Those who are left lose no number: a ringer
// that dies before it rings delays them, and nothing else does.
func TestBellAmongTheKilled(t *testing.T) {
	rnd := newRand(t)
	dir := testdir.Memory(t)
	s, err := Open(filepath.Join(dir, "store"), nil)
	require.NoError(t, err)
	defer func() { _ = s.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	b := newBoard(t, dir, 1)
	var seen atomic.Uint64
	waiter := make(chan error, 1)
	read := func() uint64 {
		v, err := s.Get([]byte("number"))
		if err != nil && !errors.Is(err, ErrNotFound) {
			t.Errorf("%v", err)
		}
		id, _ := valueID(v)
		return id
	}
	go func() {
		for {
			err := s.Bell(1).Await(ctx, func() (Owner, bool) { return 0, read() != seen.Load() })
			if err != nil {
				waiter <- err
				return
			}
			seen.Store(read())
		}
	}()
	crowd := newBoard(t, dir, 3)
	for range 10 {
		c := startChild(t, "ringer", settings{"PATH": s.Path(), "BOARD": b.path})
		// One that waits on the same bell, among others, and is killed too.
		w := startChild(t, "crowd", settings{"PATH": s.Path(), "BOARD": crowd.path, "OWNER": "0", "COUNT": "16"})
		b.await(t, c, 0, b.get(0)+100)
		time.Sleep(time.Duration(rnd.IntN(5000)) * time.Microsecond)
		w.kill(t)
		c.kill(t)
		for last := read(); seen.Load() != last; time.Sleep(time.Millisecond) {
			require.NoError(t, ctx.Err(), "a waiter saw number %d, expected %d", seen.Load(), last)
		}
	}
	cancel()
	require.ErrorIs(t, <-waiter, context.Canceled)
	checkSound(t, s)
}
