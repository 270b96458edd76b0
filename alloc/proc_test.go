package alloc

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/alloc/region"
)

// A handle is opened while a process that rewrites the store holds all procs, and lets
// go of them between the look at the last proc and the look at exclusiveLock.
func TestEntriesLetGoDuringOpen(t *testing.T) {
	h, err := NewHeap(1 << 20)
	require.NoError(t, err)
	rewriter, _, err := h.Attach(nil)
	require.NoError(t, err)
	require.NoError(t, rewriter.LockExclusive())

	_, _, err = h.Attach(nil)
	require.ErrorIs(t, err, ErrInUse)

	b := &heapBacking{heap: h}
	a := &Arena{mem: region.FromWords(h.data), ro: region.FromWords(h.data), shared: region.FromWords(h.slots), b: b}
	let := false
	b.hook = func(op region.Op, off uint64) {
		if off == exclusiveLock|ProcsBit && !let {
			let = true
			require.NoError(t, rewriter.Close())
		}
	}
	require.NoError(t, a.attach())
	require.True(t, let)
	require.NoError(t, a.Close())
}
