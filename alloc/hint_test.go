package alloc

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/alloc/layout"
)

// A search that begins in the middle of a group and finds nothing there leaves the
// group's hints alone, because pages before the middle may offer something.
func TestSearchFromTheMiddleKeepsHints(t *testing.T) {
	h, err := NewHeap(8 << 20)
	require.NoError(t, err)
	a, _, err := h.Attach(nil)
	require.NoError(t, err)
	s, err := a.Slot(Brief)
	require.NoError(t, err)
	defer a.Release(s)

	var free []uint64
	end := a.end.Load()
	require.NoError(t, a.eachPage(t.Context(), end, func(p uint64, st layout.PageState) error {
		if st.Free() {
			free = append(free, p)
		}
		return nil
	}))
	require.Greater(t, len(free), 1)
	require.Less(t, end, uint64(layout.GroupPages<<layout.PageShift), "all is in one group")
	middle := free[len(free)/2]
	for _, p := range free[len(free)/2:] {
		require.NoError(t, s.claimAt(p, 1, 1))
		s.become(p, 1, layout.PageRun, 0)
		s.endRecord()
	}
	before := a.ro.Load(layout.OffHintSeq)
	require.False(t, a.searchFrom(hintsRoom, middle, func(uint64, layout.PageState) bool { return true }))
	require.Equal(t, before, a.ro.Load(layout.OffHintSeq), "hints were taken down and set again")
	require.Empty(t, a.Hidden())
	require.True(t, a.searchFrom(hintsRoom, 0, func(p uint64, _ layout.PageState) bool { return p == free[0] }))
}
