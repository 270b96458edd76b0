package counter

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/shm"
)

func BenchmarkAddMany(b *testing.B) {
	for _, n := range []int{100, 10_000, 100_000} {
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
