package shm

import (
	"github.com/seed-869cc763/shmkv/alloc/layout"
	"github.com/seed-869cc763/shmkv/node"
)

// moveEntry moves the leaf of a key, and the branch above it, to other blocks.
func moveEntry(s *Store, key string) error {
	w, err := s.writer(true, true)
	if err != nil {
		return err
	}
	defer s.a.Release(w.Slot)
	if err := w.begin(); err != nil {
		return err
	}
	leaf, status := w.reader().Find(w.tx.Root, s.hashOf([]byte(key)), []byte(key))
	w.End()
	if status != node.Present {
		return nil
	}
	_, _, err = w.moveBlock(leaf.Off, layout.BlockSize(leaf.Size()))
	return err
}
