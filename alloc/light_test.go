package alloc

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/alloc/layout"
	"github.com/seed-869cc763/shmkv/alloc/region"
)

// A light transaction is over when the horizon has passed its version: it commits
// nothing then, even where the root word is the same again.
func TestLightTransaction(t *testing.T) {
	h, err := NewHeap(layout.MinSize)
	require.NoError(t, err)
	a, _, err := h.Attach(nil)
	require.NoError(t, err)
	commit(t, a)
	s, err := a.Slot(Brief)
	require.NoError(t, err)
	m := h.Mem()
	pin := slotPin(s.idx) + layout.PinVersion

	root, err := s.BeginLight()
	require.NoError(t, err)
	require.Zero(t, a.shared.Load(pin), "it holds no pin")
	require.True(t, s.Sound())
	won, err := s.Commit(&[PayloadWords]uint64{})
	require.NoError(t, err)
	require.True(t, won)
	s.End()

	// So many commits that the tag of the root word is the same, and its node in the
	// same place.
	root, err = s.BeginLight()
	require.NoError(t, err)
	horizon := m.Load(layout.OffHorizon)
	m.Store(layout.OffHorizon, root.Version+1<<16-1)
	require.False(t, s.Sound())
	length := a.FileBytes()
	_, err = s.Alloc(layout.MinSize / 2)
	require.ErrorIs(t, err, errReused, "what it has read may be garbage, also a length")
	require.Equal(t, length, a.FileBytes())
	won, err = s.Commit(&[PayloadWords]uint64{})
	require.NoError(t, err)
	require.False(t, won)
	require.Zero(t, m.Load(root.Off+layout.RootSuperseded), "the node may be somebody else's")
	s.Abort(0)
	s.End()
	m.Store(layout.OffHorizon, horizon)

	// A pinned one is sound whatever becomes of the horizon.
	_, err = s.Begin()
	require.NoError(t, err)
	require.NotZero(t, a.shared.Load(pin))
	m.Store(layout.OffHorizon, root.Version)
	require.True(t, s.Sound())
	s.End()
	require.Zero(t, a.shared.Load(pin))

	// A root node that is no such node is damage, unless the horizon has passed it.
	m.Store(layout.OffHorizon, horizon)
	birth := m.Load(root.Off)
	m.Store(root.Off, birth+7)
	_, err = s.BeginLight()
	require.ErrorIs(t, err, region.ErrCorrupt, "the horizon has not passed it")
	m.Store(root.Off, birth)
	a.Release(s)
}
