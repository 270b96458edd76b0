package shm_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/shm"
)

// memoryStore opens a new store in memory.
func memoryStore(t testing.TB) *shm.Store {
	t.Helper()
	s, err := shm.Open(testdir.Memory(t)+"/store", nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// spaceKey is a key of 16 bytes.
func spaceKey(key []byte, i int) []byte { return fmt.Appendf(key[:0], "key%013d", i) }

// measured logs the space of a store as bytes of file for each byte of keys
// and values, which it returns.
func measured(t testing.TB, s *shm.Store, when string) float64 {
	t.Helper()
	st := s.Stats()
	per := func(n int64) float64 { return float64(n) / float64(max(st.DataBytes, 1)) }
	t.Logf("%-32s file %.3f, allocated %.3f, live %.3f, free %.3f of %d bytes of keys and values",
		when, per(st.FileBytes), per(st.AllocatedBytes), per(st.LiveBytes), per(st.FreeBytes), st.DataBytes)
	return per(st.FileBytes)
}

// The life of a store, by the bytes that it takes. Sizes do not depend on the
// machine's speed, but for how many commits reclaim lags.
func TestSpace(t *testing.T) {
	t.Parallel()
	if raced || testing.Short() {
		t.Skip("two million writes")
	}
	const n = 100_000
	s := memoryStore(t)
	rng := rand.New(rand.NewPCG(1, 1))
	key := make([]byte, 16)
	overwrite := func(times int) {
		for range times {
			require.NoError(t, s.Set(spaceKey(key, rng.IntN(n)), shm.Fresh(100)))
		}
	}
	for i := range n {
		require.NoError(t, s.Set(spaceKey(key, i), shm.Fresh(100)))
	}
	require.LessOrEqual(t, measured(t, s, "loaded"), 1.6)
	sound(t, s)

	overwrite(testdir.Scale(3, 10) * n)
	require.LessOrEqual(t, measured(t, s, "overwritten"), 2.5)

	other, err := shm.Open(s.Path(), nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, other.Close()) }()
	sn, err := other.Snapshot()
	require.NoError(t, err)
	st := other.Stats()
	own := float64(st.LiveBytes) / float64(st.DataBytes)
	overwrite(testdir.Scale(3, 10) * n)
	require.LessOrEqual(t, measured(t, s, "overwritten under a snapshot"), 2.5+own)
	rep := sound(t, s)
	t.Logf("%+v", *rep)
	require.Equal(t, n, sn.Len())
	require.NoError(t, sn.Close())

	file, peak := s.Stats().FileBytes, s.Stats().AllocatedBytes
	settled(t, s, func() { overwrite(1000) }, func(st shm.Stats) bool {
		return float64(st.AllocatedBytes) <= 1.7*float64(st.DataBytes)
	})
	measured(t, s, "overwritten after it")
	require.Equal(t, file, s.Stats().FileBytes, "space is reused: the file does not grow")

	for i := range n {
		existed, err := s.Delete(spaceKey(key, i))
		require.NoError(t, err)
		require.True(t, existed)
	}
	const fixed = 512 << 10
	st = settled(t, s, idle, func(st shm.Stats) bool {
		return st.AllocatedBytes <= peak/10+fixed
	})
	measured(t, s, "deleted")
	t.Logf("allocated %d of %d at the peak", st.AllocatedBytes, peak)
	rep = sound(t, s)
	t.Logf("%+v", *rep)
}

// The same with transactions of many keys, which free much at a time, and with
// values of many sizes, large ones among them.
func TestSpaceOfBatchesAndLargeValues(t *testing.T) {
	t.Parallel()
	if raced || testing.Short() {
		t.Skip("many writes")
	}
	s := memoryStore(t)
	rng := rand.New(rand.NewPCG(2, 2))
	buf := make([]byte, 300<<10)
	size := func() int {
		switch rng.IntN(20) {
		case 0:
			return rng.IntN(len(buf))
		case 1, 2, 3:
			return rng.IntN(20 << 10)
		}
		return rng.IntN(500)
	}
	round := func() {
		for range 10 {
			require.NoError(t, s.Update(func(tx *shm.Tx) error {
				for range 100 {
					if err := tx.Set(numbered(rng.IntN(1000)), buf[:size()]); err != nil {
						return err
					}
				}
				return nil
			}))
		}
	}
	for range 5 {
		round()
	}
	measured(t, s, "filled")
	for range 20 {
		round()
	}
	require.LessOrEqual(t, measured(t, s, "overwritten in batches"), 4.0)
	peak := s.Stats().AllocatedBytes
	require.NoError(t, s.Update(func(tx *shm.Tx) error {
		for key := range tx.All() {
			if _, err := tx.Delete(key); err != nil {
				return err
			}
		}
		return nil
	}))
	require.Zero(t, s.Len())
	st := settled(t, s, idle, func(st shm.Stats) bool {
		return st.AllocatedBytes <= peak/10+512<<10
	})
	t.Logf("emptied in one transaction: allocated %d of %d at the peak", st.AllocatedBytes, peak)
	sound(t, s)
}

// settled calls meanwhile again and again until the store is as it should become in
// time, for half a minute at most, and returns its state.
func settled(t testing.TB, s *shm.Store, meanwhile func(), done func(shm.Stats) bool) shm.Stats {
	t.Helper()
	for began := time.Now(); ; {
		meanwhile()
		if st := s.Stats(); done(st) || time.Since(began) > 30*time.Second {
			t.Logf("settled after %v", time.Since(began).Round(10*time.Millisecond))
			require.True(t, done(st), "%+v", st)
			return st
		}
	}
}

// Small stores are small. How many branches of each size there are depends on the
// hash's seed, which is random, so a store in fifty takes a step of growth more: the
// median of several does not.
func TestSpaceOfSmallStores(t *testing.T) {
	var allocated []int64
	for range 9 {
		s := memoryStore(t)
		empty := s.Stats()
		key := make([]byte, 16)
		for i := range 1000 {
			require.NoError(t, s.Set(spaceKey(key, i), make([]byte, 100)))
		}
		st := s.Stats()
		t.Logf("empty: allocated %d, file %d; 1,000 entries: allocated %d, file %d, keys and values %d",
			empty.AllocatedBytes, empty.FileBytes, st.AllocatedBytes, st.FileBytes, st.DataBytes)
		allocated = append(allocated, st.AllocatedBytes)
		sound(t, s)
	}
	slices.Sort(allocated)
	require.LessOrEqual(t, allocated[len(allocated)/2], int64(512<<10))
	require.LessOrEqual(t, allocated[len(allocated)-1], int64(560<<10))
}

// A handle that did much and idles, alive, keeps little.
func TestIdleHandleStrandsNothing(t *testing.T) {
	if raced || testing.Short() {
		t.Skip("many writes")
	}
	const n = 50_000
	s := memoryStore(t)
	other, err := shm.Open(s.Path(), nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, other.Close()) }()
	batch := func(s *shm.Store) {
		require.NoError(t, s.Update(func(tx *shm.Tx) error {
			key := make([]byte, 16)
			for i := range n {
				if err := tx.Set(spaceKey(key, i), shm.Fresh(100)); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	batch(other)
	sn, err := s.Snapshot() // holds what the next batch retires
	require.NoError(t, err)
	batch(other)
	require.NoError(t, sn.Close())
	measured(t, s, "overwritten under a snapshot")
	// other idles from here on.
	rng := rand.New(rand.NewPCG(3, 3))
	key := make([]byte, 16)
	for range 5 * n {
		require.NoError(t, s.Set(spaceKey(key, rng.IntN(n)), shm.Fresh(100)))
	}
	measured(t, s, "overwritten by another handle")
	rep := sound(t, s)
	t.Logf("%+v", *rep)
	require.Less(t, rep.RetiredBytes, s.Stats().DataBytes/4, "what the idle handle has retired is not reclaimed")
}

// idle lets others work.
func idle() { time.Sleep(10 * time.Millisecond) }
