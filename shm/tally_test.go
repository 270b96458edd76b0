package shm_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/shm"
)

// Each handle tells its own work. Together that is what the store tells.
func TestTally(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		require.Zero(t, s.Tally())
		set(t, s, "a", "1")
		set(t, other, "b", "1")
		require.NoError(t, other.Update(func(tx *shm.Tx) error {
			require.NoError(t, tx.Set([]byte("c"), nil))
			return tx.Set([]byte("d"), nil)
		}))
		set(t, s, "a", "1") // changes nothing
		require.Equal(t, shm.Tally{Counters: shm.Counters{Commits: 1, Changes: 1}}, s.Tally())
		require.Equal(t, shm.Tally{Counters: shm.Counters{Commits: 2, Changes: 3}}, other.Tally())

		before := s.Tally()
		once := false
		require.NoError(t, s.Update(func(tx *shm.Tx) error {
			if !once {
				once = true
				set(t, other, "a", "other")
			}
			return tx.Set([]byte("a"), []byte("2"))
		}))
		require.Equal(t, shm.Tally{Counters: shm.Counters{Commits: 1, Changes: 1, Lost: 1}}, s.Tally().Sub(before))

		overwriteIn := func(s *shm.Store) {
			for range 300 {
				require.NoError(t, s.Set([]byte("a"), shm.Fresh(20)))
			}
		}
		overwriteIn(s)
		overwriteIn(other)
		own, others, all := s.Tally(), other.Tally(), s.Stats().Counters
		require.Positive(t, own.FreedBlocks)
		require.Positive(t, others.FreedBlocks)
		require.Equal(t, others.Counters, all.Sub(own.Counters))
		require.NoError(t, s.Close())
		require.GreaterOrEqual(t, s.Tally().Commits, own.Commits)
		require.Equal(t, others.Commits, other.Tally().Commits)
	})
}
