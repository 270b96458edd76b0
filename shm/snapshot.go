package shm

import (
	"cmp"
	"fmt"
	"iter"
	"sync"
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
// Store, when their memory holds something else. A Snapshot must not be closed
// while another goroutine is in its Get, Has or Len.
type Snapshot struct {
	s      *Store
	pin    *alloc.Pin
	r      hamt.Reader
	trie   hamt.Ref
	closed atomic.Bool

	mu  sync.Mutex
	err error // of the first loop that failed
}

// Snapshot pins the current version. Close must follow: until then the space
// of what has been replaced since cannot be reused. If the process dies, its
// snapshots are closed for it.
func (s *Store) Snapshot() (*Snapshot, error) {
	u, ok := s.a.Enter()
	if !ok {
		return nil, s.fail("taking a snapshot of", ErrClosed)
	}
	defer s.a.Leave(u)
	return s.snapshot()
}

func (s *Store) snapshot() (*Snapshot, error) {
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

// View calls fn with a snapshot that is closed when fn returns. A Close of the
// store does not take the snapshot's memory away before that.
func (s *Store) View(fn func(sn *Snapshot) error) error {
	u, ok := s.a.Enter()
	if !ok {
		return s.fail("taking a snapshot of", ErrClosed)
	}
	defer s.a.Leave(u)
	sn, err := s.snapshot()
	if err != nil {
		return err
	}
	defer func() { _ = sn.Close() }()
	return fn(sn)
}

// Close lets the snapshot's version go. It is idempotent. Loops over All and Diff
// that are under way end with ErrClosed.
func (sn *Snapshot) Close() error {
	if sn.closed.Swap(true) {
		return nil
	}
	if u, ok := sn.s.a.Enter(); ok { // otherwise the store's Close does it
		sn.s.a.Unpin(sn.pin)
		sn.s.a.Leave(u)
	}
	return nil
}

// check returns ErrClosed if the snapshot or its store is closed.
func (sn *Snapshot) check() error {
	if sn.closed.Load() || sn.s.a.Closed() {
		return fmt.Errorf("shm: reading a snapshot of %s: %w", sn.s.path, ErrClosed)
	}
	return nil
}

// hold calls fn while the snapshot's version stays pinned and mapped, even if the
// snapshot or the store is closed in between.
func (sn *Snapshot) hold(fn func() error) error {
	u, ok := sn.s.a.Enter()
	if !ok {
		return sn.check()
	}
	defer sn.s.a.Leave(u)
	if err := sn.check(); err != nil {
		return err
	}
	if !sn.s.a.Repin(sn.pin) { // closed since
		return sn.check()
	}
	defer sn.s.a.Unpin(sn.pin)
	return fn()
}

// Get returns the value of key, not copied, or ErrNotFound.
func (sn *Snapshot) Get(key []byte) ([]byte, error) {
	u, ok := sn.s.a.Enter()
	if !ok {
		return nil, sn.check()
	}
	defer sn.s.a.Leave(u)
	h := sn.s.hashOf(key)
	l, status := sn.r.Find(sn.trie, h, key)
	if err := sn.check(); err != nil {
		return nil, err // and what was found may have been reused
	}
	switch status {
	case hamt.Present:
		return sn.r.Value(l), nil
	case hamt.Absent:
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

// Len returns the number of entries, or 0 after Close.
func (sn *Snapshot) Len() int {
	u, ok := sn.s.a.Enter()
	if !ok {
		return 0
	}
	defer sn.s.a.Leave(u)
	n := sn.entries()
	if sn.check() != nil {
		return 0
	}
	return int(n)
}

// Version returns the number of the commit that the snapshot shows.
func (sn *Snapshot) Version() uint64 { return sn.pin.Version }

// All iterates over all entries, in no order. The loop ends early if the store is
// damaged, or if the snapshot or the store is closed: Err tells.
func (sn *Snapshot) All() iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		sn.loop(func() error {
			var closed error
			err := sn.r.Walk(sn.trie, func(l hamt.Leaf) bool {
				if closed = sn.check(); closed != nil {
					return false
				}
				return yield(sn.r.Key(l), sn.r.Value(l))
			})
			if err != nil {
				return sn.s.fail("reading a snapshot of", err)
			}
			return closed
		})
	}
}

// Err returns the error that ended a loop over All or Diff early: ErrClosed or
// ErrCorrupt, as a rule. It is nil if all loops have ended by themselves or by a
// break, and keeps the first error otherwise.
func (sn *Snapshot) Err() error {
	sn.mu.Lock()
	defer sn.mu.Unlock()
	return sn.err
}

// loop runs a loop over the snapshot and keeps its error.
func (sn *Snapshot) loop(fn func() error) {
	err := sn.hold(fn)
	if err == nil {
		return
	}
	sn.mu.Lock()
	defer sn.mu.Unlock()
	if sn.err == nil {
		sn.err = err
	}
}

// Change is what happened to a key between two snapshots; nil means absent.
// The slices belong to the snapshots.
type Change struct{ Old, New []byte }

// Diff iterates over the keys whose values differ between older and sn, in no
// order. Both snapshots must be of one store. It takes time in proportion to what
// changed. The loop ends early if the store is damaged, or if one of the snapshots
// or their store is closed: sn.Err tells.
func (sn *Snapshot) Diff(older *Snapshot) iter.Seq2[[]byte, Change] {
	return func(yield func(key []byte, c Change) bool) {
		sn.loop(func() error {
			return older.hold(func() error { return sn.changes(older, yield) })
		})
	}
}

// changes is Diff's loop, over two snapshots that are held.
func (sn *Snapshot) changes(older *Snapshot, yield func(key []byte, c Change) bool) error {
	r := sn.widest(older)
	var closed error
	err := sn.diff(older, func(old, new hamt.Leaf) bool {
		if closed = cmp.Or(sn.check(), older.check()); closed != nil {
			return false
		}
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
	if err != nil {
		return sn.s.fail("comparing two snapshots of", err)
	}
	return closed
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
