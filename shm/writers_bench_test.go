package shm_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/shm"
)

// BenchmarkWriters measures goroutines that each set random keys of a store of n
// entries, one set a commit: keys of 16 bytes, values of 100. The time is that of one
// set in the sum of all goroutines, so half of the time of one goroutine is twice its
// rate.
func BenchmarkWriters(b *testing.B) {
	for _, n := range []int{1000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("n=%d", n), func(b *testing.B) {
			s := benchStore(b, n)
			for _, goroutines := range []int{1, 2, 8, 64} {
				b.Run(fmt.Sprintf("goroutines=%d", goroutines), func(b *testing.B) {
					before := s.Stats()
					benchSets(b, s, n, goroutines)
					after := s.Stats()
					b.ReportMetric(float64(after.Changes-before.Changes)/float64(after.Commits-before.Commits), "sets/commit")
				})
			}
		})
	}
}

// benchSets makes b.N sets, by so many goroutines.
func benchSets(b *testing.B, s *shm.Store, n, goroutines int) {
	const share = 16 // sets that a goroutine takes on at a time
	var taken atomic.Int64
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(g), uint64(b.N)))
			value := make([]byte, 100)
			var key [16]byte
			for {
				last := taken.Add(share)
				for i := range share - max(last-int64(b.N), 0) {
					binary.LittleEndian.PutUint64(value, uint64(last+i)) // another one each time
					if err := s.Set(benchKey(&key, rng.IntN(n)), value); err != nil {
						b.Error(err)
						return
					}
				}
				if last >= int64(b.N) {
					return
				}
			}
		})
	}
	wg.Wait()
}

// benchKey is the i-th key of a benchmark's store.
func benchKey(key *[16]byte, i int) []byte {
	x := (uint64(i) + 1) * 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	binary.BigEndian.PutUint64(key[:8], x^x>>31)
	binary.BigEndian.PutUint64(key[8:], uint64(i))
	return key[:]
}

// benchStore returns a store of n entries.
func benchStore(b *testing.B, n int) *shm.Store {
	path := testdir.Memory(b) + "/store"
	s, err := shm.Open(path, nil)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, s.Close()) })
	value := make([]byte, 100)
	var key [16]byte
	for i := 0; i < n; {
		require.NoError(b, s.Update(func(tx *shm.Tx) error {
			for end := min(i+1000, n); i < end; i++ {
				if err := tx.Set(benchKey(&key, i), value); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	return s
}
