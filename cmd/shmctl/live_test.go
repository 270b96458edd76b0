package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/internal/testproc"
	"github.com/seed-869cc763/shmkv/shm"
)

// The size of the live store, which makes a visit of all entries take a while.
var liveKeys = testdir.Scale(5000, 20000)

const liveWriter = 2

// writing is the work of a writer process.
type writing struct {
	Commits int64
	Longest time.Duration // time of the longest commit
}

// writeFlatOut is the main function of a process that writes to the store in its argument
// until its standard input ends. It sets single keys with values of any size, sometimes
// sets 100 keys in a transaction, and deletes some.
func writeFlatOut() {
	s, err := shm.Open(os.Args[1], &shm.Options{MustExist: true})
	if err != nil {
		panic(err)
	}
	stop := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(stop)
	}()
	var w writing
	value := bytes.Repeat([]byte("v"), 3000)
	change := func(set func(key, value []byte) error, del func(key []byte) (bool, error)) error {
		key := liveKey(rand.IntN(liveKeys))
		if rand.IntN(8) == 0 {
			_, err := del(key)
			return err
		}
		return set(key, value[:rand.IntN(200)*rand.IntN(16)])
	}
	for running := true; running; {
		began := time.Now()
		if w.Commits%1000 == 0 {
			err = s.Update(func(tx *shm.Tx) error {
				for range 100 {
					if err := change(tx.Set, tx.Delete); err != nil {
						return err
					}
				}
				return nil
			})
		} else {
			err = change(s.Set, s.Delete)
		}
		if err != nil {
			panic(err)
		}
		w.Commits++
		w.Longest = max(w.Longest, time.Since(began))
		select {
		case <-stop:
			running = false
		default:
		}
	}
	if err := s.Close(); err != nil {
		panic(err)
	}
	_ = json.NewEncoder(os.Stdout).Encode(w)
}

func liveKey(i int) []byte { return strconv.AppendInt([]byte("key:"), int64(i), 10) }

// Each verb that only reads works on a store while others write to it. The writers go on
// meanwhile, even if a reading process is killed or stopped.
func TestVerbsOnLiveStore(t *testing.T) {
	s := newStore(t)
	for i := range liveKeys {
		require.NoError(t, s.Set(liveKey(i), []byte("first")))
	}
	require.NoError(t, s.Map("m").Set([]byte("key"), nil))
	var writers [liveWriter]*exec.Cmd
	var stdins [liveWriter]io.Closer
	var outs [liveWriter]strings.Builder
	for i := range writers {
		c := exec.Command("writer", s.Path())
		in, err := c.StdinPipe()
		require.NoError(t, err)
		c.Stdout, c.Stderr = &outs[i], os.Stderr
		testproc.Start(t, c)
		writers[i], stdins[i] = c, in
	}
	require.Eventually(t, func() bool { return s.Version() > uint64(liveKeys)+1000 }, 20*time.Second, time.Millisecond)

	// A reader that blocks with its snapshot open, because nobody reads its output.
	still := exec.Command("shmctl", "dump", s.Path())
	_, err := still.StdoutPipe()
	require.NoError(t, err)
	testproc.Start(t, still)

	watch := startWatch(t, s.Path(), "--all")
	go func() {
		for range watch.lines {
		}
	}()
	verbs := [][]string{
		{"stat", s.Path()},
		{"slots", s.Path()},
		{"check", s.Path()},
		{"get", s.Path(), "--glob", "key:*7", "--json"},
		{"keys", s.Path(), "--prefix", "key:1"},
		{"dump", s.Path()},
		{"maps", s.Path()},
		{"map", s.Path(), "--output", filepath.Join(t.TempDir(), "map.svg")},
		{"diff", s.Path(), s.Path()}, // two versions of the store
		{"doctor", s.Path()},
		{"watch", s.Path(), "--all", "--count", "50"},
		{"watch", s.Path(), "key:1", "--existing", "--count", "1"},
	}
	for _, args := range verbs {
		var out []byte
		var err error
		var before uint64
		var began time.Time
		for range 100 { // a fast verb may end before a writer runs
			before, began = s.Version(), time.Now()
			out, err = exec.Command("shmctl", args...).CombinedOutput()
			if s.Version() != before {
				break
			}
		}
		if args[0] == "diff" && len(out) > 0 {
			require.ErrorContains(t, err, fmt.Sprint("exit status ", exitDiffer))
		} else {
			require.NoError(t, err, "%s: %s", args, out[max(0, len(out)-500):])
			require.True(t, args[0] == "diff" || args[0] == "map" || len(out) > 0, args)
		}
		require.Greater(t, s.Version(), before, "nobody wrote during %s", args)
		t.Logf("%v: %v, %d commits meanwhile", args[0], time.Since(began), s.Version()-before)
	}
	require.NoError(t, still.Process.Kill())
	_ = still.Wait()
	require.NoError(t, watch.cmd.Process.Kill())
	_ = watch.cmd.Wait()

	for i, c := range writers {
		require.NoError(t, stdins[i].Close())
		require.NoError(t, c.Wait())
		var w writing
		require.NoError(t, json.Unmarshal([]byte(outs[i].String()), &w))
		t.Logf("writer %d: %d commits, the longest took %v", i, w.Commits, w.Longest)
		require.Greater(t, w.Commits, int64(1000))
		require.Less(t, w.Longest, 5*time.Second)
	}
	var rep *shm.Report
	require.Eventually(t, func() bool { // a handle still gives memory back for some time
		rep, err = s.Check(t.Context(), nil)
		return err != nil || rep.Quiet
	}, 20*time.Second, 10*time.Millisecond)
	require.NoError(t, err)
	require.Zero(t, rep.LeakedBytes)
	all, err := s.Inspect().Processes()
	require.NoError(t, err)
	require.False(t, slices.ContainsFunc(all, func(p shm.Process) bool { return !p.Alive }), "the check has adopted them")
}
