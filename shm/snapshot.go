package shm

import (
	"iter"
	"sync/atomic"

	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/hamt"
)

// Snapshot is one version of the store. It sees that version until it is
// closed, whatever is written meanwhile; and all that only it can see keeps its
// space until then, and nothing else does. It may be used by many goroutines.
//
// The slices that it returns lie in the store itself: they must not be written
// to (that faults), and must not be used after Close of the Snapshot or of its
// Store, when their memory holds something else.
type Snapshot struct {
	s      *Store
	pin    *alloc.Pin
	r      hamt.Reader
	trie   hamt.Ref
	closed atomic.Bool
}

// Snapshot pins the current version. Close must follow: until then the space
// of what has been replaced since cannot be reused. If the process dies, its
// snapshots are closed for it.
func (s *Store) Snapshot() (*Snapshot, error) {
	if s.a.Closed() {
		return nil, s.fail("taking a snapshot of", ErrClosed)
	}
	pin, err := s.a.Pin()
	if err != nil {
		return nil, s.fail("taking a snapshot of", err)
	}
	end, err := s.a.Limit()
	if err != nil {
		s.a.Unpin(pin)
		return nil, s.fail("taking a snapshot of", err)
	}
	return &Snapshot{s: s, pin: pin, r: hamt.NewReader(s.a.Mem(), end), trie: hamt.Ref(s.rootWord(pin.Off, rootTrie))}, nil
}

// View calls fn with a snapshot that is closed when fn returns.
func (s *Store) View(fn func(sn *Snapshot) error) error {
	sn, err := s.Snapshot()
	if err != nil {
		return err
	}
	defer func() { _ = sn.Close() }()
	return fn(sn)
}

// Close lets the snapshot's version go. It is idempotent.
func (sn *Snapshot) Close() error {
	if !sn.closed.Swap(true) {
		sn.s.a.Unpin(sn.pin)
	}
	return nil
}

// check returns ErrClosed if the snapshot or its store is closed.
func (sn *Snapshot) check() error {
	if sn.closed.Load() || sn.s.a.Closed() {
		return sn.s.fail("reading a snapshot of", ErrClosed)
	}
	return nil
}

// Get returns the value of key, not copied, or ErrNotFound.
func (sn *Snapshot) Get(key []byte) ([]byte, error) {
	if err := sn.check(); err != nil {
		return nil, err
	}
	h := sn.s.hashOf(key)
	l, status := sn.r.Find(sn.trie, h, key)
	switch status {
	case hamt.Present:
		return sn.r.Value(l), nil
	case hamt.Absent:
		if sn.s.a.Closed() {
			return nil, sn.check()
		}
		return nil, ErrNotFound
	}
	return nil, sn.s.fail("reading a snapshot of", damage(sn.r.Explain(sn.trie, h, key)))
}

// Has reports whether key is in the snapshot.
func (sn *Snapshot) Has(key []byte) (bool, error) {
	_, err := sn.Get(key)
	if err == ErrNotFound {
		return false, nil
	}
	return err == nil, err
}

// Len returns the number of entries.
func (sn *Snapshot) Len() int {
	if sn.check() != nil {
		return 0
	}
	return int(sn.s.rootWord(sn.pin.Off, rootEntries))
}

// Version returns the number of the commit that the snapshot shows.
func (sn *Snapshot) Version() uint64 { return sn.pin.Version }

// All iterates over all entries, in no order. It ends early if the store is
// damaged or the snapshot is closed meanwhile: Check tells the former.
func (sn *Snapshot) All() iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		if sn.check() != nil {
			return
		}
		_ = sn.r.Walk(sn.trie, func(l hamt.Leaf) bool {
			return yield(sn.r.Key(l), sn.r.Value(l)) && !sn.closed.Load()
		})
	}
}

// Change is what happened to a key between two snapshots; nil means absent.
// The slices belong to the snapshots.
type Change struct{ Old, New []byte }

// Diff iterates over the keys whose values differ between older and sn, in no
// order. Both snapshots must be of one store and stay open meanwhile. It takes
// time in proportion to what changed.
func (sn *Snapshot) Diff(older *Snapshot) iter.Seq2[[]byte, Change] {
	return func(yield func(key []byte, c Change) bool) {
		if sn.check() != nil || older.check() != nil {
			return
		}
		r := sn.widest(older)
		_ = sn.diff(older, func(old, new hamt.Leaf) bool {
			var c Change
			var key []byte
			if old != (hamt.Leaf{}) {
				key, c.Old = r.Key(old), r.Value(old)
			}
			if new != (hamt.Leaf{}) {
				key, c.New = r.Key(new), r.Value(new)
			}
			return yield(key, c)
		})
	}
}

// diff visits what differs between two snapshots of one store.
func (sn *Snapshot) diff(older *Snapshot, visit func(old, new hamt.Leaf) bool) error {
	return sn.widest(older).Diff(older.trie, sn.trie, sn.s.hash, visit)
}

// widest is the Reader of the newer one of two snapshots, which sees all that
// either does.
func (sn *Snapshot) widest(other *Snapshot) hamt.Reader {
	if other.pin.Version > sn.pin.Version {
		return other.r
	}
	return sn.r
}
