package shm_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/shm"
)

// benchFilled runs a benchmark on stores of 10^3 and 10^6 entries, with keys of 16
// bytes and values of 100. next returns the key of a random entry.
func benchFilled(b *testing.B, run func(b *testing.B, s *shm.Store, next func() []byte)) {
	for _, entries := range []int{1_000, 1_000_000} {
		b.Run(fmt.Sprintf("entries=%d", entries), func(b *testing.B) {
			s, err := shm.Open(testdir.Memory(b)+"/store", nil)
			require.NoError(b, err)
			defer func() { require.NoError(b, s.Close()) }()
			value := make([]byte, 100)
			for from := 0; from < entries; from += 1000 {
				require.NoError(b, s.Update(func(tx *shm.Tx) error {
					for i := range 1000 {
						if err := tx.Set(viewKey(nil, uint64(from+i)), value); err != nil {
							return err
						}
					}
					return nil
				}))
			}
			key, random := make([]byte, 0, 16), uint64(1)
			run(b, s, func() []byte {
				random ^= random << 13
				random ^= random >> 7
				random ^= random << 17
				key = viewKey(key[:0], random%uint64(entries))
				return key
			})
		})
	}
}

// viewKey is the i-th key, which costs the benchmark's loop little.
func viewKey(key []byte, i uint64) []byte {
	key = binary.BigEndian.AppendUint64(key, i*0x9e3779b97f4a7c15)
	return binary.BigEndian.AppendUint64(key, i)
}

// BenchmarkHeldSnapshotGet gets random keys of one snapshot.
func BenchmarkHeldSnapshotGet(b *testing.B) {
	benchFilled(b, func(b *testing.B, s *shm.Store, next func() []byte) {
		sn, err := s.Snapshot()
		require.NoError(b, err)
		for b.Loop() {
			if _, err := sn.Get(next()); err != nil {
				b.Fatal(err)
			}
		}
		require.NoError(b, sn.Close())
	})
}

// BenchmarkView gets one random key in each View.
func BenchmarkView(b *testing.B) {
	benchFilled(b, func(b *testing.B, s *shm.Store, next func() []byte) {
		for b.Loop() {
			key := next()
			if err := s.View(func(sn *shm.Snapshot) error {
				_, err := sn.Get(key)
				return err
			}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkReads gets random keys in several ways, which take turns, so that what
// else the machine does meanwhile is the same for all. It reports the lower quartile
// of the turns, in ns per key.
func BenchmarkReads(b *testing.B) {
	benchFilled(b, func(b *testing.B, s *shm.Store, next func() []byte) {
		var held *shm.Snapshot
		var key []byte
		var found error
		one, dst := make([][]byte, 1), make([]byte, 0, 100)
		get := func(sn *shm.Snapshot) error { _, err := sn.Get(key); return err }
		many := func(_ int, _ []byte, ok bool) {
			if !ok {
				found = shm.ErrNotFound
			}
		}
		ways := []struct {
			name string
			read func() error
		}{
			{"append", func() error { _, err := s.Append(dst, next()); return err }},
			{"held-snapshot", func() error { _, err := held.Get(next()); return err }},
			{"view", func() error { key = next(); return s.View(get) }},
			{"get-many", func() error { one[0] = next(); return errors.Join(s.GetMany(one, many), found) }},
			{"snapshot", func() error {
				sn, err := s.Snapshot()
				if err != nil {
					return err
				}
				_, err = sn.Get(next())
				return errors.Join(err, sn.Close())
			}},
		}
		const turn = 2000
		nanos := make([][]float64, len(ways))
		for b.Loop() {
			for i, way := range ways {
				if way.name == "held-snapshot" { // no other way is to find a pin to share
					var err error
					held, err = s.Snapshot()
					require.NoError(b, err)
				}
				start := time.Now()
				for range turn {
					if err := way.read(); err != nil {
						b.Fatal(err)
					}
				}
				nanos[i] = append(nanos[i], float64(time.Since(start))/turn)
				if way.name == "held-snapshot" {
					require.NoError(b, held.Close())
				}
			}
		}
		for i, way := range ways {
			slices.Sort(nanos[i])
			b.ReportMetric(nanos[i][len(nanos[i])/4], way.name)
		}
		b.ReportMetric(0, "ns/op") // of all ways together
	})
}

// BenchmarkOpen opens a store of 1,000 entries and gets one of them. It reports the
// lower quartile of the times that this takes; closing the store is not part of it.
func BenchmarkOpen(b *testing.B) {
	path := testdir.Memory(b) + "/store"
	s, err := shm.Open(path, nil)
	require.NoError(b, err)
	for i := range 1000 {
		require.NoError(b, s.Set(spaceKey(nil, i), make([]byte, 100)))
	}
	require.NoError(b, s.Close())
	for _, opts := range []*shm.Options{{}, {ReadOnly: true}} {
		b.Run(fmt.Sprintf("ReadOnly=%v", opts.ReadOnly), func(b *testing.B) {
			key, dst := spaceKey(nil, 7), make([]byte, 0, 100)
			var took []time.Duration
			for b.Loop() {
				start := time.Now()
				s, err := shm.Open(path, opts)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := s.Append(dst, key); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(start))
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/4]), "ns/open")
			b.ReportMetric(0, "ns/op") // with the close
		})
	}
}
