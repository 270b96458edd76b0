package alloc

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/alloc/layout"
)

// Beside a writer the ledger believes a leak that stays, and none that a later pass does
// not see any more (rule L1).
func TestLedgerBelievesWhatStays(t *testing.T) {
	h, err := NewHeap(layout.MinSize)
	require.NoError(t, err)
	a, _, err := h.Attach(nil)
	require.NoError(t, err)
	commit(t, a)
	s, err := a.Slot(Brief)
	require.NoError(t, err)
	defer a.Release(s) // in use, so that no pass is quiet

	m := h.Mem()
	p := a.FileBytes() - layout.PageSize
	free := a.page(p)
	require.True(t, free.Free())
	state := func(st layout.PageState) { m.Store(layout.Desc(p)+layout.DescState, uint64(st)) }

	for _, damaged := range []int{1, 2, 3, agreeing, auditPasses + 1} {
		passes := 0
		ledger, err := a.Ledger(context.Background(), func(Root, func(off, size uint64) error) error {
			if passes++; passes <= damaged {
				state(layout.MakeState(layout.PageClaimed, 0, 0, free.Gen()))
			} else {
				state(free)
			}
			return nil
		}, nil)
		require.NoError(t, err)
		if damaged <= agreeing {
			require.Empty(t, ledger.Problems, "a leak that %d passes saw was believed", damaged)
			require.Greater(t, passes, damaged)
		} else {
			require.Len(t, ledger.Problems, 1)
			require.Contains(t, ledger.Problems[0], "neither free nor in use")
		}
	}
}
