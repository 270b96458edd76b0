package main

import (
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/examples/internal/exampletest"
	"github.com/seed-869cc763/shmkv/shm"
)

func TestMain(m *testing.M) { exampletest.Main(m, main) }

// A burst with nothing after it is exact, however many ask for it at once.
func TestBurst(t *testing.T) {
	store := filepath.Join(t.TempDir(), "store")
	out := exampletest.Run(t, "-store", store, "-procs", "3", "-burst", "500", "-rate", "0.0001", "-for", "200ms")
	var procs, got, asked int
	_, err := fmt.Sscanf(out, "%d processes got %d of %d events", &procs, &got, &asked)
	require.NoError(t, err, out)
	require.Equal(t, 500, got)
	require.Greater(t, asked, 500)

	// The store is kept, and with it the empty bucket.
	out = exampletest.Run(t, "-store", store, "-procs", "2", "-burst", "500", "-rate", "0.0001", "-for", "20ms")
	require.Contains(t, out, "2 processes got 0 of ")
}

// The program itself fails if there were more events than permitted; here they must not
// be many fewer either.
func TestRate(t *testing.T) {
	exampletest.LeavesNothing(t, "/dev/shm/shmkv-ratelimit-*")
	out := exampletest.Run(t, "-procs", "2", "-burst", "10", "-rate", "1000", "-for", "300ms")
	var procs, got int
	_, err := fmt.Sscanf(out, "%d processes got %d of ", &procs, &got)
	require.NoError(t, err, out)
	require.GreaterOrEqual(t, got, 150, out)
}

// Who stops the program finds nothing of it.
func TestStop(t *testing.T) {
	exampletest.LeavesNothing(t, "/dev/shm/shmkv-ratelimit-*")
	p := exampletest.Start(t, "-procs", "2", "-for", "1h")
	time.Sleep(50 * time.Millisecond)
	p.Signal(syscall.SIGINT)
	p.Fail()
}

func TestLimiter(t *testing.T) {
	store, err := shm.Open(t.TempDir(), nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	l := &Limiter{store, []byte("limit"), time.Second, 3}
	start := time.Unix(1000, 0)
	count := func(now time.Time) (n int) {
		for ; ; n++ {
			ok, err := l.Allow(now)
			require.NoError(t, err)
			if !ok {
				return n
			}
		}
	}
	require.Equal(t, 3, count(start))
	require.Equal(t, 0, count(start.Add(time.Second-1)))
	require.Equal(t, 1, count(start.Add(time.Second)))
	require.Equal(t, 3, count(start.Add(time.Hour)), "it fills up to the burst")
	require.Equal(t, 0, count(start), "a clock that is set back gives nothing away")
	version := store.Version()
	require.Equal(t, 0, count(start))
	require.Equal(t, version, store.Version(), "a refusal writes nothing")

	// Goroutines are as exact as processes.
	var got atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				if ok, err := l.Allow(start.Add(2 * time.Hour)); ok && err == nil {
					got.Add(1)
				}
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 3, got.Load())

	require.NoError(t, store.Set([]byte("limit"), []byte("x")))
	_, err = l.Allow(start)
	require.ErrorContains(t, err, "the bucket limit has 1 bytes, expected 8")
}
