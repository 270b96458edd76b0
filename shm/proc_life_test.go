// The race detector sees nothing of a mapping, and slows processes down.

//go:build !race

package shm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
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

// Processes that stop, idle, create and wait.

func init() {
	// A writer works without pause until its time is up.
	children["writer"] = func() {
		b, err := openBoard(setting("BOARD"))
		must(err)
		s := mustOpen(setting("PATH"), nil)
		until := clock() + settingInt("NANOS")
		goAll(3, func(g int) {
			for n := uint64(1); clock() < until; n++ {
				key := fmt.Appendf(nil, "writer/%d/%d", g, n%100)
				switch n % 8 {
				case 0:
					_, err := s.Delete(key)
					must(err)
				case 1:
					must(s.Update(func(tx *Tx) error {
						for i := range 20 {
							if err := tx.Set(fmt.Appendf(nil, "writer/%d/%d", g, i), testValue(n, 500)); err != nil {
								return err
							}
						}
						return nil
					}))
				default:
					must(s.Set(key, testValue(n, int(n%3000))))
				}
				b.set(0, n)
			}
		})
		must(s.Close())
	}

	// An idler loads much, deletes all, and does nothing.
	children["idler"] = func() {
		b, err := openBoard(setting("BOARD"))
		must(err)
		s := mustOpen(setting("PATH"), nil)
		idleLoad(func(err error) { must(err) }, s, "idler", 8)
		b.set(1, uint64(s.Stats().FileBytes))
		b.set(0, 1)
		time.Sleep(time.Minute)
	}

	// A creator makes one store after the other.
	children["creator"] = func() {
		b, err := openBoard(setting("BOARD"))
		must(err)
		for n := uint64(1); n < 100000; n++ {
			b.set(0, n)
			s := mustOpen(fmt.Sprintf("%s/%d", setting("PATH"), n), &Options{MaxSize: 1 << 20})
			must(s.Set([]byte("creator"), testValue(n, 100)))
			must(s.Close())
			b.set(1, n)
		}
	}

	// An opener waits for the others, then opens the same missing store.
	children["opener"] = func() {
		b, err := openBoard(setting("BOARD"))
		must(err)
		id, n := int(settingInt("ID")), int(settingInt("COUNT"))
		for round := range int(settingInt("ROUNDS")) {
			b.Add(uint64(round)*8, 1)
			for end := clock() + int64(5*time.Second); b.get(round) < uint64(n); {
				if clock() > end {
					failChild("the others did not come to round %d within 5 s: %d of %d did", round, b.get(round), n)
				}
			}
			s := mustOpen(fmt.Sprintf("%s/%d", setting("PATH"), round), nil)
			must(s.Set(fmt.Appendf(nil, "opener %d", id), testValue(uint64(id), 50)))
			must(s.Close())
		}
	}

	// A committer commits now and then, noting when.
	children["committer"] = func() {
		b, err := openBoard(setting("BOARD"))
		must(err)
		s := mustOpen(setting("PATH"), nil)
		for n := uint64(1); n <= uint64(settingInt("COUNT")); n++ {
			time.Sleep(time.Duration(settingInt("PAUSE")))
			b.set(1, uint64(clock()))
			must(s.Set([]byte("committer"), testValue(n, 10)))
			b.set(0, n)
		}
		if settingInt("STAY") != 0 {
			time.Sleep(time.Minute)
		}
	}
}

// idleLoad writes some 16 MiB in values of n sizes from 50 bytes to 200 KiB, and
// deletes them all.
func idleLoad(must func(error), s *Store, prefix string, sizes int) {
	total := 0
	var keys [][]byte
	for i := 0; total < 16<<20; i++ {
		n := 50 << (i % sizes * 12 / sizes)
		total += n + 50
		key := fmt.Appendf(nil, "%s/%d", prefix, i)
		keys = append(keys, key)
		must(s.Set(key, testValue(uint64(i), n)))
	}
	for _, key := range keys {
		_, err := s.Delete(key)
		must(err)
	}
}

// A stopped writer, wherever it was stopped, keeps nobody from reading and
// writing, and keeps hardly any space.
func TestStoppedWriter(t *testing.T) {
	rnd := newRand(t)
	rounds := 6
	if testing.Short() {
		rounds = 3
	}
	dir := testdir.Memory(t)
	path := filepath.Join(dir, "store")
	s, err := Open(path, nil)
	require.NoError(t, err)
	defer func() { _ = s.Close() }()
	for round := range rounds {
		b := newBoard(t, dir, 2)
		c := startChild(t, "writer", settings{"PATH": path, "BOARD": b.path, "NANOS": fmt.Sprint(int64(400 * time.Millisecond))})
		b.await(t, c, 0, 10)
		time.Sleep(time.Duration(rnd.IntN(20000)) * time.Microsecond)
		c.signal(syscall.SIGSTOP)
		time.Sleep(10 * time.Millisecond) // its threads stop one after the other
		stopped := b.get(0)

		// Rewrite 500 KiB again and again: 50 MiB in all.
		before := s.Stats().FileBytes
		var slowest time.Duration
		for n := range 100 {
			for k := range 50 {
				begin := time.Now()
				key := fmt.Appendf(nil, "writer/%d/%d", k%3, k)
				require.NoError(t, s.Set(key, testValue(uint64(n), 10<<10)))
				v, err := s.Get(key)
				require.NoError(t, err)
				id, ok := valueID(v)
				require.True(t, ok)
				require.EqualValues(t, n, id)
				slowest = max(slowest, time.Since(begin))
			}
			if n%25 == 0 {
				require.NoError(t, s.View(func(sn *Snapshot) error {
					for _, v := range sn.All() {
						_, ok := valueID(v)
						require.True(t, ok)
					}
					return nil
				}))
				rep, err := s.Check(context.Background(), nil)
				require.NoError(t, err, "Check beside a stopped writer: %+v", rep)
			}
		}
		require.Equal(t, stopped, b.get(0), "the writer was to be stopped")
		require.Less(t, slowest, 2*time.Second, "a write and a read beside a stopped writer")
		require.Less(t, s.Stats().FileBytes-before, int64(8<<20), "growth of the file beside a stopped writer")

		if round%3 == 2 {
			c.kill(t)
		} else {
			c.signal(syscall.SIGCONT)
			c.wait(t)
		}
		checkSound(t, s)
	}
	require.NoError(t, s.Close())
	checkFresh(t, path)
}

// A process that has loaded and deleted much and idles, alive, keeps no space
// from others, whatever the sizes of what they write.
func TestIdleProcess(t *testing.T) {
	dir := testdir.Memory(t)
	path := filepath.Join(dir, "store")
	b := newBoard(t, dir, 2)
	c := startChild(t, "idler", settings{"PATH": path, "BOARD": b.path})
	b.await(t, c, 0, 1)
	s, err := Open(path, nil)
	require.NoError(t, err)
	defer func() { _ = s.Close() }()
	before := s.Stats().FileBytes
	rep := checkSound(t, s)
	t.Logf("the idler left %d bytes free and %d retired of %d", rep.FreeBytes, rep.RetiredBytes, rep.FileBytes)
	for i, sizes := range []int{8, 3, 12} {
		idleLoad(func(err error) { require.NoError(t, err) }, s, fmt.Sprint(i), sizes)
		// Runs of pages of other lengths do not fit exactly, so some growth is fair.
		require.Less(t, s.Stats().FileBytes, before+before*6/10, "load %d: the file was %d bytes", i, before)
	}
	select {
	case <-c.done:
		t.Fatalf("the idler ended: %s", c.tail())
	default:
	}
	checkSound(t, s)
	c.kill(t)
	checkSound(t, s)
}

// Many processes open the same missing store at once: one creates it, and all
// use the same.
func TestCreateTogether(t *testing.T) {
	const openers, rounds = 6, 12
	dir := testdir.Memory(t)
	b := newBoard(t, dir, rounds)
	var all []*child
	for i := range openers {
		all = append(all, startChild(t, "opener", settings{"PATH": dir, "BOARD": b.path, "ID": fmt.Sprint(i),
			"COUNT": fmt.Sprint(openers), "ROUNDS": fmt.Sprint(rounds)}))
	}
	for _, c := range all {
		<-c.done
	}
	for i, c := range all {
		if c.err != nil {
			t.Errorf("opener %d: %v: %s", i, c.err, c.tail())
		}
	}
	if t.Failed() {
		return
	}
	for round := range rounds {
		path := fmt.Sprintf("%s/%d", dir, round)
		s := openSound(t, path)
		require.Equal(t, openers, s.Len())
		for i := range openers {
			has, err := s.Has(fmt.Appendf(nil, "opener %d", i))
			require.NoError(t, err)
			require.True(t, has, "opener %d of round %d wrote to another store", i, round)
		}
		require.NoError(t, s.Close())
		require.ElementsMatch(t, []string{"data", "procs"}, namesIn(t, path))
	}
}

func namesIn(t testing.TB, dir string) []string {
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// A creator is killed at a random moment: the next opener completes what it
// began, and what it completed is there.
func TestCreatorKilled(t *testing.T) {
	rnd := newRand(t)
	rounds := 25
	if testing.Short() {
		rounds = 8
	}
	stages := map[string]int{}
	for range rounds {
		dir := testdir.Memory(t)
		b := newBoard(t, dir, 2)
		stores := filepath.Join(dir, "stores")
		require.NoError(t, os.Mkdir(stores, 0o700))
		c := startChild(t, "creator", settings{"PATH": stores, "BOARD": b.path})
		b.await(t, c, 1, 1)
		time.Sleep(time.Duration(rnd.IntN(8000)) * time.Microsecond)
		c.kill(t)
		begun, done := b.get(0), b.get(1)
		path := fmt.Sprintf("%s/%d", stores, begun)
		if begun > done {
			stages[stageOf(t, path)]++
		}
		for n := max(1, int64(begun)-2); n <= int64(begun); n++ {
			s := openSound(t, fmt.Sprintf("%s/%d", stores, n))
			v, err := s.Get([]byte("creator"))
			if uint64(n) <= done || err == nil {
				require.NoError(t, err)
				id, ok := valueID(v)
				require.True(t, ok)
				require.EqualValues(t, n, id)
			} else {
				require.ErrorIs(t, err, ErrNotFound)
			}
			require.NoError(t, s.Set([]byte("next"), []byte("opener")))
			checkSound(t, s)
			require.NoError(t, s.Close())
		}
		for _, name := range namesIn(t, path) {
			if name != "data" && name != "procs" {
				stages["left over: "+name[:strings.LastIndex(name, "-")]]++
			}
		}
	}
	t.Logf("creators were killed with these files in place: %v", stages)
}

// stageOf says how far a creation got.
func stageOf(t *testing.T, path string) string {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return "no directory"
	}
	all := ""
	for _, name := range namesIn(t, path) {
		if strings.HasPrefix(name, tmpName) {
			name = name[:strings.LastIndex(name, "-")]
		}
		all += " " + name
	}
	return "dir" + all
}

const tmpName = "tmp-"

// Wait wakes when another process commits.
func TestWaitAcrossProcesses(t *testing.T) {
	dir := testdir.Memory(t)
	path := filepath.Join(dir, "store")
	s, err := Open(path, nil)
	require.NoError(t, err)
	defer func() { _ = s.Close() }()
	const commits = 20
	b := newBoard(t, dir, 2)
	before := s.Version()
	c := startChild(t, "committer", settings{"PATH": path, "BOARD": b.path, "COUNT": fmt.Sprint(commits),
		"PAUSE": fmt.Sprint(int64(15 * time.Millisecond)), "STAY": "1"})
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	quick, version := 0, before
	for version < before+commits {
		next, err := s.Wait(ctx, version)
		require.NoError(t, err)
		require.Greater(t, next, version)
		version = next
		if late := time.Duration(clock() - int64(b.get(1))); late < 50*time.Millisecond {
			quick++
		}
	}
	require.Greater(t, quick, commits/2, "waits that ended within 50 ms of the commit, of %d", commits)
	require.Equal(t, before+commits, s.Version())

	// Nobody commits: it sleeps until the context ends.
	short, cancelShort := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancelShort()
	begin := time.Now()
	_, err = s.Wait(short, version)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Less(t, time.Since(begin), 500*time.Millisecond)
	c.kill(t)
}

// Wait also wakes when a committer was killed, perhaps between its commit and
// its waking others.
func TestWaitKilledCommitter(t *testing.T) {
	rnd := newRand(t)
	dir := testdir.Memory(t)
	path := filepath.Join(dir, "store")
	s, err := Open(path, nil)
	require.NoError(t, err)
	defer func() { _ = s.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	var seen atomic.Uint64
	waiter := make(chan error)
	go func() {
		for v := s.Version(); ; {
			next, err := s.Wait(ctx, v)
			if err != nil {
				waiter <- err
				return
			}
			v = next
			seen.Store(v)
		}
	}()
	for range 10 {
		b := newBoard(t, dir, 2)
		c := startChild(t, "committer", settings{"PATH": path, "BOARD": b.path, "COUNT": "1000000", "PAUSE": "0", "STAY": "0"})
		b.await(t, c, 0, 3)
		time.Sleep(time.Duration(rnd.IntN(5000)) * time.Microsecond)
		c.kill(t)
		version, begin := s.Version(), time.Now()
		for seen.Load() < version {
			require.Less(t, time.Since(begin), 5*time.Second, "a waiter saw version %d, and not %d, whose committer was killed", seen.Load(), version)
			time.Sleep(time.Millisecond)
		}
	}
	// The next commit, of this process, wakes at once.
	begin := time.Now()
	require.NoError(t, s.Set([]byte("last"), nil))
	for version := s.Version(); seen.Load() < version; time.Sleep(100 * time.Microsecond) {
		require.Less(t, time.Since(begin), 5*time.Second)
	}
	cancel()
	require.ErrorIs(t, <-waiter, context.Canceled)
	checkSound(t, s)
}

// Close ends the waits of its own handle.
func TestWaitEndsWithClose(t *testing.T) {
	s, err := Open(filepath.Join(testdir.Memory(t), "store"), nil)
	require.NoError(t, err)
	waiter := make(chan error)
	go func() {
		_, err := s.Wait(context.Background(), s.Version())
		waiter <- err
	}()
	time.Sleep(30 * time.Millisecond)
	begin := time.Now()
	require.NoError(t, s.Close())
	require.ErrorIs(t, <-waiter, ErrClosed)
	require.Less(t, time.Since(begin), 500*time.Millisecond, "Close is to wake those who wait")
}
