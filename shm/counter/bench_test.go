package counter

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/shm"
)

func BenchmarkAddMany(b *testing.B) {
	for _, n := range []int{100, 10_000, 40_000, 100_000} {
		for _, zipf := range []bool{false, true} {
			b.Run(fmt.Sprintf("keys=%d/zipf=%v", n, zipf), func(b *testing.B) {
				s, err := shm.Open(b.TempDir(), nil)
				require.NoError(b, err)
				defer s.Close()
				c := Open(s, "pages")
				keys := make([][]byte, n)
				var all []Count
				for i := range keys {
					keys[i] = fmt.Appendf(nil, "/page/%d", i)
					if all = append(all, Count{keys[i], 1}); len(all) == 1000 || i == n-1 {
						require.NoError(b, c.AddMany(all))
						all = all[:0]
					}
				}
				z := rand.NewZipf(rand.New(rand.NewPCG(1, 2)), 1.1, 1, uint64(n-1))
				batch := make([]Count, 1000)
				b.ResetTimer()
				began := cpuTime(b)
				for i := 0; i < b.N; i += len(batch) {
					for j := range batch {
						k := rand.IntN(n)
						if zipf {
							k = int(z.Uint64())
						}
						batch[j] = Count{keys[k], 1}
					}
					require.NoError(b, c.AddMany(batch))
				}
				b.ReportMetric(float64(cpuTime(b)-began)/float64(b.N), "cpu-ns/op")
			})
		}
	}
}

// cpuTime returns the processor time of this process, in nanoseconds.
func cpuTime(b *testing.B) int64 {
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return u.Utime.Nano() + u.Stime.Nano()
}

// BenchmarkAdd is one increment a commit, of one counter and of many, by one goroutine and by
// eight.
func BenchmarkAdd(b *testing.B) {
	for _, n := range []int{1, 10_000} {
		for _, goroutines := range []int{1, 8} {
			b.Run(fmt.Sprintf("keys=%d/goroutines=%d", n, goroutines), func(b *testing.B) {
				c := Open(newStore(b), "pages")
				var wg sync.WaitGroup
				began := cpuTime(b)
				for g := range goroutines {
					wg.Go(func() {
						rng := rand.New(rand.NewPCG(1, uint64(g)))
						for range (b.N + goroutines - 1) / goroutines {
							if _, err := c.Add(fmt.Append(nil, rng.IntN(n)), 1); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
				b.ReportMetric(float64(cpuTime(b)-began)/float64(b.N), "cpu-ns/op")
			})
		}
	}
}

// BenchmarkAddAfterMany is one increment a commit after a batch of many, whose memory is used
// again.
func BenchmarkAddAfterMany(b *testing.B) {
	for _, n := range []int{10, 1000, 60_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c := Open(newStore(b), "pages")
			var all []Count
			for i := range n {
				all = append(all, Count{fmt.Append(nil, i), 1})
			}
			require.NoError(b, c.AddMany(all))
			b.ResetTimer()
			began := cpuTime(b)
			for i := range b.N {
				if _, err := c.Add(all[i%10].Key, 1); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(cpuTime(b)-began)/float64(b.N), "cpu-ns/op")
		})
	}
}

// BenchmarkRead is reads of a million counters, of which a tenth have counts of their own.
func BenchmarkRead(b *testing.B) {
	const n = 1_000_000
	c := Open(newStore(b), "pages")
	var all []Count
	key := func(i int) []byte { return fmt.Appendf(nil, "/page/%d", i) }
	for i := range n {
		count := int64(1)
		if i%10 == 0 {
			count = int64(i)
		}
		if all = append(all, Count{key(i), count}); len(all) == 10_000 {
			require.NoError(b, c.AddMany(all))
			all = all[:0]
		}
	}
	for name, read := range map[string]func() error{
		"Get":             func() error { _, err := c.Get(key(rand.IntN(n))); return err },
		"Rank":            func() error { _, err := c.Rank(key(rand.IntN(n))); return err },
		"Sum":             func() error { _, err := c.Sum(); return err },
		"Range(0,100)":    func() error { _, err := c.Range(0, 100); return err },
		"Range(rand,100)": func() error { _, err := c.Range(rand.IntN(n), 100); return err },
	} {
		b.Run(name, func(b *testing.B) {
			began := cpuTime(b)
			for range b.N {
				if err := read(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(cpuTime(b)-began)/float64(b.N), "cpu-ns/op")
		})
	}
}
