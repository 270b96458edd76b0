package shm_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/shm"
)

// A large transaction beside a writer that does not stop runs a few times, not again and
// again, and the writer goes on meanwhile.
func TestLargeTransactionBesideWriter(t *testing.T) {
	const keys, batches = 10_000, 12
	s := memoryStore(t)
	other, err := shm.Open(s.Path(), nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, other.Close()) }()
	var stop atomic.Bool
	var sets atomic.Uint64
	ended := make(chan error)
	go func() {
		for i := 0; !stop.Load(); i++ {
			if err := other.Set(numbered(i%1000), shm.Fresh(6)); err != nil {
				ended <- err
				return
			}
			sets.Add(1)
		}
		ended <- nil
	}()
	runs := 0
	before := sets.Load()
	for batch := range batches {
		require.NoError(t, s.Update(func(tx *shm.Tx) error {
			runs++
			for i := range keys {
				if err := tx.Set(fmt.Appendf(nil, "batch%d", i), fmt.Append(nil, batch)); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	after := sets.Load()
	stop.Store(true)
	require.NoError(t, <-ended)
	t.Logf("%d runs for %d batches, beside %d sets", runs, batches, after-before)
	require.LessOrEqual(t, runs, 3*batches)
	require.Greater(t, after-before, uint64(batches))
	sound(t, s)
}
