package shm

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/alloc/layout"
	"github.com/seed-869cc763/shmkv/node"
)

// moveEntry moves the leaf of a key, and the branch above it, to other blocks.
func moveEntry(s *Store, key string) error {
	w, err := s.writer(alloc.Brief | alloc.Frees)
	if err != nil {
		return err
	}
	defer s.a.Release(w.slot)
	if err := w.begin(); err != nil {
		return err
	}
	leaf, err := w.view(&w.unnamed).find(s.hashOf([]byte(key)), []byte(key))
	w.slot.End()
	if err == ErrNotFound {
		return nil
	}
	_, _, err = w.moveBlock(leaf.Off, layout.BlockSize(leaf.Size()))
	return err
}

// A block may look like a leaf of another map. That does not keep it from being moved by
// what it is.
func TestFalseLead(t *testing.T) {
	_, s := plainStore(t, 16<<20)
	key := []byte("key")
	require.NoError(t, s.Map("m").Set(key, nil))
	w, err := s.writer(0)
	require.NoError(t, err)
	require.NoError(t, w.begin())
	to := s.target("m", KindHash)
	record, there, err := to.record(w.taken(), w.root.directory)
	require.NoError(t, err)
	require.True(t, there)
	off := record.Root.Off()
	for hash, moves := range map[uint64]bool{^to.hash: false, to.hash: true} {
		w.reset()
		_, _, err := w.follow(lead{key, node.Extra{Flags: node.HasMap, Map: ^to.hash}}, off)
		require.NoError(t, err)
		moved, leaf, err := w.follow(lead{key, node.Extra{Flags: node.HasMap, Map: hash}}, off)
		require.NoError(t, err)
		require.Equal(t, moves, moved)
		if moved {
			require.Equal(t, off, leaf.Off)
		}
		w.slot.Abort(0)
	}
	w.slot.End()
	w.release()
	requireSound(t, s)
}
