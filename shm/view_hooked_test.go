//go:build shmhook

package shm

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/alloc/region"
)

// Whoever keeps the snapshot of a View reads nothing of the store through it.
func TestViewsSnapshotKept(t *testing.T) {
	h, err := alloc.NewHeap(1 << 20)
	require.NoError(t, err)
	s, hook := hookedStore(t, h)
	require.NoError(t, s.Set([]byte("k"), []byte("v")))
	var kept *Snapshot
	require.NoError(t, s.View(func(sn *Snapshot) error { kept = sn; return nil }))
	*hook = func(op region.Op, off uint64) { t.Errorf("%v at %#x", op, off) }
	_, err = kept.Get([]byte("k"))
	require.ErrorIs(t, err, ErrClosed)
	_, err = kept.Has([]byte("k"))
	require.ErrorIs(t, err, ErrClosed)
	*hook = nil
	require.NoError(t, s.Close())
}
