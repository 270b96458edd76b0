package shm

import (
	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/alloc/layout"
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
	leaf, err := w.view().find(s.hashOf([]byte(key)), []byte(key))
	w.slot.End()
	if err == ErrNotFound {
		return nil
	}
	_, _, err = w.moveBlock(leaf.Off, layout.BlockSize(leaf.Size()))
	return err
}
