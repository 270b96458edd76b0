package alloc

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The first hole is made some time after holes were announced, also where a long run
// has left a gap before.
func TestFirstHoleComesLater(t *testing.T) {
	h, err := NewHeap(64 << 20)
	require.NoError(t, err)
	a, _, err := h.Attach(nil)
	require.NoError(t, err)
	a.pace.holes = time.Hour
	require.False(t, a.Punched())
	s, err := a.Slot(Brief | Frees)
	require.NoError(t, err)
	_, err = s.Begin()
	require.NoError(t, err)
	_, err = s.Alloc(10 << 20)
	require.NoError(t, err)
	require.True(t, a.Punched(), "the run has left a gap")
	require.False(t, a.mayPunch())
	a.pace.holes = 0
	require.True(t, a.mayPunch())
	s.Abort(0)
	s.End()
	a.Release(s)
	require.NoError(t, a.Close())
}
