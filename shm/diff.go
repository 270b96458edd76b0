package shm

import (
	"cmp"
	"fmt"
	"iter"

	"github.com/seed-869cc763/shmkv/hamt"
	"github.com/seed-869cc763/shmkv/node"
)

// Change is what happened to a key between two snapshots; nil means absent.
// The slices belong to the snapshots.
type Change struct{ Old, New []byte }

// Diff iterates over the keys whose values differ between older and sn, in no
// order. It takes time in proportion to what changed. The loop ends early if the store
// is damaged, if one of the snapshots is closed, or at once with
// ErrUnrelated if the snapshots are of two stores: sn.Err tells.
func (sn *Snapshot) Diff(older *Snapshot) iter.Seq2[[]byte, Change] {
	return func(yield func(key []byte, c Change) bool) {
		sn.loop(func() error {
			return older.hold(func() error { return sn.changes(older, yield) })
		})
	}
}

// changes is Diff's loop, over two snapshots that are held.
func (sn *Snapshot) changes(older *Snapshot, yield func(key []byte, c Change) bool) error {
	if !sn.s.a.Same(older.s.a) {
		err := fmt.Errorf("%w: found a snapshot of %s, expected one of the same store", ErrUnrelated, older.s.path)
		return sn.fail("comparing two snapshots of", err)
	}
	r := sn.widest(older)
	var closed error
	err := sn.diff(older, func(old, new node.Leaf) bool {
		if closed = cmp.Or(sn.check(), older.check()); closed != nil {
			return false
		}
		var c Change
		var key []byte
		if old != (node.Leaf{}) {
			key, c.Old = r.Key(old), r.Value(old)
		}
		if new != (node.Leaf{}) {
			key, c.New = r.Key(new), r.Value(new)
		}
		return yield(key, c)
	})
	if err != nil {
		return sn.fail("comparing two snapshots of", err)
	}
	return closed
}

// diff visits what differs between two snapshots of one store.
func (sn *Snapshot) diff(older *Snapshot, visit func(old, new node.Leaf) bool) error {
	return sn.widest(older).Diff(older.trie, sn.trie, sn.s.hash, visit)
}

// widest reads all that either of two snapshots sees. If their handles differ, the
// handle of the older one may not know yet how far the store has grown.
func (sn *Snapshot) widest(other *Snapshot) hamt.Reader {
	if other.pin.Version > sn.pin.Version {
		return other.s.reader()
	}
	return sn.s.reader()
}
