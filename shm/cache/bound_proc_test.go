//go:build !race

package cache

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/internal/testproc"
	"github.com/seed-869cc763/shmkv/shm"
)

func init() {
	// "fills" sets items of all sizes for a while, and reads back some of them.
	children["fills"] = func() {
		c, err := Open(setting("PATH"), &Options{Bytes: int64(settingInt("BYTES"))})
		must(err)
		client, sets, gone := settingInt("CLIENT"), 0, 0
		// Also on a slow machine, all of them together set more than the bound.
		for began := time.Now(); sets < 2000 || time.Since(began) < time.Duration(settingInt("MILLIS"))*time.Millisecond; sets++ {
			size := 1 << rand.IntN(17)
			if rand.IntN(4) > 0 {
				size = rand.IntN(600)
			}
			size += rand.IntN(size + 1)
			key := fmt.Appendf(nil, "%d %d", client, rand.IntN(100_000))
			value := make([]byte, size)
			copy(value, key)
			must(c.Set(key, value, time.Hour))
			it, err := c.Get(key)
			switch {
			case errors.Is(err, shm.ErrNotFound):
				gone++ // another process has evicted it already
			case err != nil:
				failChild("%v", err)
			case string(it.Value) != string(value):
				failChild("found another value of %q", key)
			}
		}
		if gone > sets/10 {
			failChild("%d of %d items were gone at once", gone, sets)
		}
		fmt.Println(sets, "sets,", gone, "gone at once")
		must(c.Close())
	}
}

// watch looks at the files of a store all the time, and returns a function that ends it and
// returns the most bytes that they were long, and that they had memory.
func watch(path string) (end func() (most, mostMemory int64, looks int)) {
	var long, memory atomic.Int64
	quit, done := make(chan struct{}), make(chan struct{})
	looks := 0
	go func() {
		defer close(done)
		for {
			select {
			case <-quit:
				return
			default:
			}
			sum, blocks := int64(0), int64(0)
			for _, name := range []string{"data", "procs", sketchFile} {
				if st, err := os.Stat(path + "/" + name); err == nil {
					sum += st.Size()
					blocks += st.Sys().(*syscall.Stat_t).Blocks * 512
				}
			}
			long.Store(max(long.Load(), sum))
			memory.Store(max(memory.Load(), blocks))
			looks++
			time.Sleep(100 * time.Microsecond)
		}
	}()
	return func() (int64, int64, int) {
		close(quit)
		<-done
		return long.Load(), memory.Load(), looks
	}
}

// Eight processes that write items of all sizes keep the bound at all times, seen from outside,
// also while some of them are stopped or killed. None of their sets is refused.
func TestBoundAmongProcesses(t *testing.T) {
	const bytes, clients = 16 << 20, 8
	path := testdir.Memory(t) + "/store"
	c, err := Open(path, &Options{Bytes: bytes})
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	end := watch(path)
	millis := 4000
	if testing.Short() {
		millis = 1000
	}
	var all []*testproc.Child
	for i := range clients {
		all = append(all, startChild(t, "fills", map[string]string{
			"PATH": path, "BYTES": strconv.Itoa(bytes), "CLIENT": strconv.Itoa(i), "MILLIS": strconv.Itoa(millis),
		}))
	}
	rnd := newRand(t)
	for i := range 3 {
		time.Sleep(time.Duration(millis/6) * time.Millisecond)
		stopped := all[clients-1-rnd.IntN(4)]
		_ = stopped.Process.Signal(syscall.SIGSTOP)
		all[i].Kill(t)
		time.Sleep(time.Duration(millis/12) * time.Millisecond)
		_ = stopped.Process.Signal(syscall.SIGCONT)
	}
	for _, ch := range all {
		ch.Wait(t)
		t.Logf("%s", ch.Output.String())
	}
	most, memory, looks := end()
	require.LessOrEqual(t, most, int64(bytes), "of %d looks", looks)
	require.LessOrEqual(t, memory, int64(bytes), "of %d looks", looks)
	st := c.Stats()
	t.Logf("%d looks, at most %d bytes, with memory %d, of %d; %+v", looks, most, memory, bytes, st)
	require.Positive(t, st.All.Evictions)
	require.Greater(t, st.DataBytes, int64(bytes/4))
	_, err = c.Store().Inspect().Adopt()
	require.NoError(t, err)
	report, err := c.Store().Check(t.Context(), nil)
	require.NoError(t, err)
	require.Empty(t, report.Problems)
	require.Zero(t, report.LeakedBytes)
}
