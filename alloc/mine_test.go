package alloc

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A block is a transaction's own only as a block of the size that was asked for.
func TestMineIsOfASize(t *testing.T) {
	h, err := NewHeap(1 << 20)
	require.NoError(t, err)
	a, _, err := h.Attach(nil)
	require.NoError(t, err)
	s, err := a.Slot(Brief | Frees)
	require.NoError(t, err)
	_, err = s.Begin()
	require.NoError(t, err)
	off, err := s.Alloc(40)
	require.NoError(t, err)
	require.True(t, s.Mine(off, 40))
	require.True(t, s.Mine(off, 33), "of the same class")
	require.False(t, s.Mine(off, 41))
	require.False(t, s.Mine(off, 24))
	require.False(t, s.Mine(off+8, 40))
	s.Abort(0)
	s.End()
	require.False(t, s.Mine(off, 40))
	a.Release(s)
	require.NoError(t, a.Close())
}
