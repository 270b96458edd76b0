package shm_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/shm"
)

// Loops from positions go through a whole map, a few entries at a time, also in a transaction
// that deletes what it meets. A loop from a random position meets each entry about as often as
// another.
func TestAllFrom(t *testing.T) {
	s := fileStore(t, nil)
	m := s.Map("m")
	const n = 3000
	for i := range n {
		require.NoError(t, m.Set(fmt.Append(nil, i), fmt.Append(nil, "value ", i)))
	}
	seen := map[string]int{}
	require.NoError(t, s.View(func(sn *shm.Snapshot) error {
		for pos, rounds := uint64(0), 0; ; rounds++ {
			next := uint64(0)
			got := 0
			for key, value := range sn.Map("m").AllFrom(pos) {
				require.Equal(t, "value "+string(key), string(value))
				seen[string(key)]++
				if got++; got == 7 {
					next = m.After(key)
					break
				}
			}
			if pos = next; pos == 0 {
				break
			}
			require.Less(t, rounds, n)
		}
		return sn.Err()
	}))
	require.Len(t, seen, n)

	met := map[string]int{}
	rnd := rand.New(rand.NewPCG(1, 2))
	require.NoError(t, s.View(func(sn *shm.Snapshot) error {
		for range n {
			left := 32
			for key := range sn.Map("m").AllFrom(rnd.Uint64()) {
				met[string(key)]++
				if left--; left == 0 {
					break
				}
			}
		}
		return nil
	}))
	for key, times := range met {
		require.Less(t, times, 32*5, "key %s", key)
	}
	require.Greater(t, len(met), n*99/100)

	require.NoError(t, s.Update(func(tx *shm.Tx) error {
		for key := range tx.Map("m").AllFrom(1 << 63) {
			if _, err := tx.Map("m").Delete(key); err != nil {
				return err
			}
		}
		return nil
	}))
	require.InDelta(t, n/2, m.Len(), n/10)
	sound(t, s)
}

// A transaction drops a map and makes it anew in one commit, if it has not used it before.
func TestTxMapDrop(t *testing.T) {
	s := fileStore(t, nil)
	m := s.Map("m")
	require.NoError(t, m.Set([]byte("old"), nil))
	version := s.Version()
	require.NoError(t, s.Update(func(tx *shm.Tx) error {
		existed, err := tx.Map("m").Drop()
		require.NoError(t, err)
		require.True(t, existed)
		existed, err = tx.Map("none").Drop()
		require.NoError(t, err)
		require.False(t, existed)
		return tx.Set([]byte("unnamed"), nil)
	}))
	require.Zero(t, m.Len())
	require.GreaterOrEqual(t, s.Version(), version+1)
	require.NoError(t, m.Set([]byte("new"), nil))
	require.ErrorContains(t, s.Update(func(tx *shm.Tx) error {
		require.NoError(t, tx.Map("m").Set([]byte("k"), nil))
		_, err := tx.Map("m").Drop()
		return err
	}), "found that the transaction has used it")
	require.Equal(t, 1, m.Len())
	sound(t, s)
}

// A handle with a bound does not make the file longer, and goes on in what is there. Another
// handle may.
func TestSetBound(t *testing.T) {
	path := fileStore(t, nil).Path()
	s, err := shm.Open(path, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	const bound = 3<<20 + 5000
	s.SetBound(bound)
	i := 0
	for ; ; i++ {
		if err = s.Set(fmt.Append(nil, i), make([]byte, 1000)); err != nil {
			break
		}
	}
	require.ErrorIs(t, err, shm.ErrFull)
	require.Greater(t, i, 2000)
	require.LessOrEqual(t, s.Stats().FileBytes, int64(bound))
	live, settled := s.LiveBytes()
	require.Equal(t, s.Stats().LiveBytes, live)
	require.True(t, settled)
	// The first deletes leave no pages for nodes of other sizes.
	for n := range 1100 {
		i--
		_, err := s.Delete(fmt.Append(nil, i))
		require.NoError(t, err)
		if n >= 100 {
			require.NoError(t, s.Set(fmt.Append(nil, i-100), shm.Fresh(1000)))
		}
	}
	require.LessOrEqual(t, s.Stats().FileBytes, int64(bound))
	s.SetBound(0)
	for range 4000 {
		i++
		require.NoError(t, s.Set(fmt.Append(nil, i), make([]byte, 1000)))
	}
	require.Greater(t, s.Stats().FileBytes, int64(bound))
	sound(t, s)
}
