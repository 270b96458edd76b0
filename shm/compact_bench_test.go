package shm_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/shm"
)

// BenchmarkCompact compacts a store of a million entries of which nine tenths were
// deleted at random, through a handle of its own, while another overwrites and a
// third reads. It reports what is left on disk, and how long a set and a get take at
// the 99th percentile, in nanoseconds, before and meanwhile.
func BenchmarkCompact(b *testing.B) {
	for range b.N {
		b.StopTimer()
		s := memoryStore(b)
		left := sparse(b, s, 1_000_000)
		var keys [][]byte
		for i := range left {
			keys = append(keys, spaceKey(nil, i))
		}
		reader, err := shm.Open(s.Path(), nil)
		require.NoError(b, err)
		compactor, err := shm.Open(s.Path(), nil)
		require.NoError(b, err)

		set := func(rnd *rand.Rand) error { return s.Set(keys[rnd.IntN(len(keys))], shm.Fresh(100)) }
		buf := make([]byte, 0, 100)
		get := func(rnd *rand.Rand) error {
			_, err := reader.Append(buf, keys[rnd.IntN(len(keys))])
			return err
		}
		stop := make(chan struct{})
		sets, gets := latencies(b, stop, set), latencies(b, stop, get)
		time.Sleep(time.Second)
		close(stop)
		setBefore, getBefore := <-sets, <-gets

		stop = make(chan struct{})
		sets, gets = latencies(b, stop, set), latencies(b, stop, get)
		b.StartTimer()
		done, err := compactor.Compact(b.Context(), nil)
		b.StopTimer()
		close(stop)
		require.NoError(b, err)
		setDuring, getDuring := <-sets, <-gets

		st := s.Stats()
		b.ReportMetric(float64(done.Before)/float64(st.LiveBytes), "before-B/live-B")
		b.ReportMetric(float64(done.After)/float64(st.LiveBytes), "after-B/live-B")
		b.ReportMetric(setBefore, "set-p99-before")
		b.ReportMetric(setDuring, "set-p99-during")
		b.ReportMetric(getBefore, "get-p99-before")
		b.ReportMetric(getDuring, "get-p99-during")
		require.NoError(b, reader.Close())
		require.NoError(b, compactor.Close())
	}
}

// latencies calls op until stop is closed, and then sends the 99th percentile.
func latencies(b *testing.B, stop chan struct{}, op func(*rand.Rand) error) chan float64 {
	p99 := make(chan float64)
	go func() {
		rnd := rand.New(rand.NewPCG(6, 6))
		var all []time.Duration
		for {
			select {
			case <-stop:
				slices.Sort(all)
				p99 <- float64(all[len(all)*99/100])
				return
			default:
			}
			began := time.Now()
			if err := op(rnd); err != nil {
				b.Error(err)
			}
			all = append(all, time.Since(began))
		}
	}()
	return p99
}
