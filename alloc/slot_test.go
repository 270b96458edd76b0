package alloc

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A handle whose idle slot was emptied by others may claim it again while the Slot
// that stood for it before is still in the handle's pool: that one, which does not
// know what has become of the slot, is not used again.
func TestSlotTakenAndClaimedAgain(t *testing.T) {
	h, err := NewHeap(MinSize)
	require.NoError(t, err)
	a, _, err := h.Attach(nil)
	require.NoError(t, err)
	other, _, err := h.Attach(nil)
	require.NoError(t, err)

	former, err := a.Slot(true, false)
	require.NoError(t, err)
	a.Release(former)
	require.True(t, other.emptyIdle(former.idx))
	again, err := a.claimSlot(false) // as when the pool was empty a moment ago
	require.NoError(t, err)
	require.Equal(t, former.idx, again.idx)
	a.Release(again)

	first, err := a.Slot(true, false)
	require.NoError(t, err)
	require.Same(t, again, first)
	second, err := a.Slot(true, false)
	require.NoError(t, err)
	require.NotEqual(t, first.idx, second.idx)
	a.Release(first)
	a.Release(second)
	require.NoError(t, a.Close())
	require.NoError(t, other.Close())
}
