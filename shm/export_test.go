package shm

import (
	"context"
	"io"
	"strconv"
	"sync/atomic"

	"github.com/seed-869cc763/shmkv/alloc"
)

// AttachHeap opens a handle on a store on the Go heap. die makes the handle
// die as a process does, in the middle of whatever it is doing: it must not be
// used any more then, nor what came from it.
func AttachHeap(h *alloc.Heap, name string) (s *Store, die func(), err error) {
	a, die, err := h.Attach(nil)
	if err != nil {
		return nil, nil, err
	}
	return newStore(a, name), die, nil
}

// SetHash replaces the hash of keys, to the same in all handles on a store.
func (s *Store) SetHash(hash func(key []byte) uint64) { s.hostile = hash }

// StopKeeping ends the keeping of the handle for good.
func (s *Store) StopKeeping() { s.keeper.end() }

// Restore is Restore with the version of a snapshot as its base, and with the hash of its
// store.
func (sn *Snapshot) Restore(ctx context.Context, dir string, differences []io.Reader, opts *CopyOptions) error {
	return sn.makeStore(ctx, dir, differences, opts, false)
}

// Path returns the path of the snapshot's store.
func (sn *Snapshot) Path() string { return sn.s.path }

var freshValues atomic.Uint64

// Fresh returns a value of n bytes that differs from those of earlier calls, if n is large
// enough for a number: a set of the value that a key has already would change nothing.
func Fresh(n int) []byte {
	number := strconv.AppendUint(make([]byte, 0, n+20), freshValues.Add(1), 36)
	return append(number, make([]byte, n)...)[:n]
}
