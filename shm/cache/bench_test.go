package cache

import (
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/shm"
)

func benchKey(i int) []byte {
	x := uint64(i) * 0x9e3779b97f4a7c15
	x ^= x >> 29
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, x), uint64(i))
}

// cpuTime is the time of a processor that the thread has had: others on the machine take
// nothing of it but caches.
func cpuTime(b *testing.B) time.Duration {
	var ts unix.Timespec
	require.NoError(b, unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts))
	return time.Duration(ts.Nano())
}

// interleaved measures two functions in turns, and reports the median of the ratios of the
// first to the second. n is the number of calls that one run of each makes.
func interleaved(b *testing.B, n int, prepare, first, second func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var ratios, ones, twos []float64
	for b.Loop() {
		prepare()
		began := cpuTime(b)
		first()
		one := cpuTime(b) - began
		began = cpuTime(b)
		second()
		two := cpuTime(b) - began
		ratios = append(ratios, float64(one)/float64(two))
		ones = append(ones, float64(one)/float64(n))
		twos = append(twos, float64(two)/float64(n))
	}
	for _, s := range [][]float64{ratios, ones, twos} {
		slices.Sort(s)
	}
	b.ReportMetric(ratios[len(ratios)/2], "ratio")
	b.ReportMetric(ones[len(ones)/2], "ns/first")
	b.ReportMetric(twos[len(twos)/2], "ns/second")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkHit compares a hit with a Get of a plain map of the same size, by Append.
func BenchmarkHit(b *testing.B) {
	for _, n := range []int{1e3, 1e5, 1e6} {
		for _, ttl := range []time.Duration{-1, time.Hour} {
			b.Run(fmt.Sprintf("%d/ttl=%v", n, ttl), func(b *testing.B) {
				s, err := shm.Open(testdir.Memory(b)+"/store", nil)
				require.NoError(b, err)
				defer func() { _ = s.Close() }()
				c, err := New(s, &Options{Bytes: max(int64(n)*800, 8<<20)})
				require.NoError(b, err)
				defer func() { _ = c.Close() }()
				plain := s.Map("plain")
				value := make([]byte, 100)
				for i := range n {
					require.NoError(b, c.Set(benchKey(i), value, ttl))
					require.NoError(b, plain.Set(benchKey(i), append(value, make([]byte, Overhead)...)))
				}
				const reads = 20_000
				keys := make([][]byte, reads)
				for i := range keys {
					keys[i] = benchKey(i * 7919 % n)
				}
				buf := make([]byte, 0, 256)
				interleaved(b, reads, func() {}, func() {
					for _, k := range keys {
						if _, err := c.Append(buf, k); err != nil {
							b.Fatal(err)
						}
					}
				}, func() {
					for _, k := range keys {
						if _, err := plain.Append(buf, k); err != nil {
							b.Fatal(err)
						}
					}
				})
			})
		}
	}
}

// BenchmarkEvict compares sets of new keys in a cache at its bound with sets of new keys in
// one that has room.
func BenchmarkEvict(b *testing.B) {
	for _, size := range []int64{6 << 20, 16 << 20, 256 << 20} {
		b.Run(fmt.Sprint(size>>20, "MiB"), func(b *testing.B) {
			dir := testdir.Memory(b)
			full, err := Open(dir+"/full", &Options{Bytes: size})
			require.NoError(b, err)
			defer func() { _ = full.Close() }()
			value := make([]byte, 100)
			i := 0
			set := func(c *Cache, n int) {
				for range n {
					i++
					if err := c.Set(benchKey(i), value, -1); err != nil {
						b.Fatal(err)
					}
				}
			}
			set(full, int(size/150))
			require.NotZero(b, full.Stats().Evictions)
			items := int(full.Stats().Items)
			const sets = 5_000
			var wide *Cache
			left, round := 0, 0
			interleaved(b, sets, func() {
				if left > 0 {
					return
				}
				if wide != nil { // as many items as the other has, on average
					_ = wide.Close()
					require.NoError(b, os.RemoveAll(wide.Store().Path()))
				}
				wide, err = Open(fmt.Sprint(dir, "/wide", round), &Options{Bytes: 2 << 30})
				require.NoError(b, err)
				set(wide, items-items/8)
				left, round = items/4, round+1
			}, func() { set(full, sets) }, func() {
				set(wide, sets)
				left = max(left-sets, 0)
			})
			_ = wide.Close()
		})
	}
}
