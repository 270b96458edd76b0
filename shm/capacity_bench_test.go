package shm_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/shm"
)

// BenchmarkCapacity fills stores of several MaxSizes, one set at a time, and reports
// how much of MaxSize the keys and values take when the first set is refused: with
// keys of 16 bytes, and values of 100 and of 400.
func BenchmarkCapacity(b *testing.B) {
	for _, mib := range []int64{1, 4, 16, 64, 256} {
		for _, size := range []int{100, 400} {
			b.Run(fmt.Sprintf("MaxSize=%dMiB/value=%d", mib, size), func(b *testing.B) {
				for range b.N {
					s, err := shm.Open(testdir.Memory(b)+"/store", &shm.Options{MaxSize: mib << 20})
					require.NoError(b, err)
					value := make([]byte, size)
					for i := 0; err == nil; i++ {
						err = s.Set(spaceKey(nil, i), value)
					}
					if !errors.Is(err, shm.ErrFull) {
						b.Fatal(err)
					}
					b.ReportMetric(float64(s.Stats().DataBytes)/float64(mib<<20), "data/MaxSize")
					require.NoError(b, s.Close())
				}
			})
		}
	}
}
