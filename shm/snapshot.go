package shm

import (
	"fmt"
	"iter"
	"math"
	"sync/atomic"

	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/alloc/region"
	"github.com/seed-869cc763/shmkv/hamt"
	"github.com/seed-869cc763/shmkv/node"
)

// Snapshot is one version of the store. It sees that version until it is
// closed. Until then it holds the space of the entries that only it can see, and of no
// others. It may be used by many goroutines.
//
// The slices that it returns are memory of the store. A write to one faults. They must not
// be used after Close of the Snapshot or of its Store, because their memory is reused. A
// Snapshot must not be closed while another goroutine is in its Get, Has or Len.
type Snapshot struct {
	s *Store
	pinned
	inside bool                  // of a View, which is inside of the handle for as long as the snapshot is open
	state  atomic.Uint32         // the number of loops under way, and snapshotClosed
	err    atomic.Pointer[error] // of the first loop that failed
}

// snapshotClosed is set in the state of a Snapshot that is closed. Its pin goes when
// that is all that the state says.
const snapshotClosed = 1 << 31

// pinned is a pinned version, and its trie.
type pinned struct {
	pin  alloc.Pin
	trie node.Ref
}

// pinned returns the version of a pin, or the error of pinning it.
func (s *Store) pinned(pin alloc.Pin, err error) (pinned, error) {
	if err != nil {
		return pinned{}, s.fail("taking a snapshot of", err)
	}
	return pinned{pin, s.trieAt(pin.Off)}, nil
}

// view returns the trie of the version. The handle must know all of it.
func (p *pinned) view(s *Store) view { return view{s.reader(), p.trie} }

// reader returns a reader of everything that is pinned by now.
func (s *Store) reader() hamt.Reader { return hamt.NewReader(s.a.Mem(), s.a.Known()) }

// Snapshot pins the current version. Close must follow. Until then the space of entries
// that are replaced cannot be reused. If the process dies, other processes close its
// snapshots.
func (s *Store) Snapshot() (*Snapshot, error) {
	u, ok := s.a.Enter()
	if !ok {
		return nil, s.fail("taking a snapshot of", ErrClosed)
	}
	defer s.a.Leave(u)
	p, err := s.pinned(s.a.Pin())
	if err != nil {
		return nil, err
	}
	return &Snapshot{s: s, pinned: p}, nil
}

// View calls fn with a snapshot that is closed when fn returns, and stays so if fn
// has kept it. A Close of the store does not take the snapshot's memory away before
// fn returns.
func (s *Store) View(fn func(sn *Snapshot) error) error {
	u, ok := s.a.Enter()
	if !ok {
		return s.fail("taking a snapshot of", ErrClosed)
	}
	p, err := s.pinned(s.a.PinBriefly())
	if err != nil {
		s.a.Leave(u)
		return err
	}
	sn := s.freshSnapshot()
	sn.s, sn.pinned, sn.inside = s, p, true
	defer sn.leave(u)
	return fn(sn)
}

// viewBlocks provides the snapshots of Views, because allocating one alone takes as long as
// the rest of a View. None is used again, so a snapshot that was kept stays closed.
type viewBlocks [viewLanes]struct {
	block atomic.Pointer[viewBlock]
	_     [56]byte
}

type viewBlock struct {
	used atomic.Int32
	all  [31]Snapshot
}

const viewLanes = 64

// freshSnapshot returns a Snapshot that nobody has had.
func (s *Store) freshSnapshot() *Snapshot {
	v := s.views.Load()
	if v == nil {
		v = &viewBlocks{}
		s.views.Store(v) // another's is lost, with no more than its Snapshots
	}
	at := &v[region.Lane()%viewLanes].block
	if b := at.Load(); b != nil {
		if i := int(b.used.Add(1)) - 1; i < len(b.all) {
			return &b.all[i]
		}
	}
	b := &viewBlock{}
	b.used.Store(1)
	at.Store(b)
	return &b.all[0]
}

// Close lets the snapshot's version go. It is idempotent. Loops over All and Diff
// that are under way end with ErrClosed.
func (sn *Snapshot) Close() error {
	if u, ok := sn.s.a.Enter(); ok { // otherwise the store's Close does it
		sn.leave(u)
	}
	return nil
}

// leave closes the snapshot and leaves the handle.
func (sn *Snapshot) leave(u alloc.User) {
	if sn.state.CompareAndSwap(0, snapshotClosed) || sn.state.Or(snapshotClosed) == 0 {
		sn.s.a.Unpin(sn.pin)
	}
	sn.s.a.Leave(u)
}

// enterLoop keeps the pin until leaveLoop, unless the snapshot is closed.
func (sn *Snapshot) enterLoop() bool {
	for {
		n := sn.state.Load()
		if n&snapshotClosed != 0 {
			return false
		}
		if sn.state.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (sn *Snapshot) leaveLoop() {
	if sn.state.Add(^uint32(0)) == snapshotClosed {
		sn.s.a.Unpin(sn.pin)
	}
}

// check returns ErrClosed if the snapshot or its store is closed.
func (sn *Snapshot) check() error {
	if sn.state.Load()&snapshotClosed != 0 || sn.s.a.Closed() {
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
	if !sn.enterLoop() {
		return sn.check()
	}
	defer sn.leaveLoop()
	return fn()
}

// Get returns the value of key, not copied, or ErrNotFound.
func (sn *Snapshot) Get(key []byte) ([]byte, error) {
	value, _, err := sn.find(sn.s.hashOf(key), key)
	return value, err
}

// GetVersion returns the value of key, not copied, and the version of the commit that
// last wrote the entry, as [Store.GetVersion] does.
func (sn *Snapshot) GetVersion(key []byte) (value []byte, version uint64, err error) {
	return sn.find(sn.s.hashOf(key), key)
}

// find looks up key, whose hash is h.
func (sn *Snapshot) find(h uint64, key []byte) (value []byte, birth uint64, err error) {
	if sn.inside {
		if err := sn.check(); err != nil {
			return nil, 0, err // the View has ended: nobody is inside any more
		}
		return sn.findInside(h, key)
	}
	u, ok := sn.s.a.Enter()
	if !ok {
		return nil, 0, sn.check()
	}
	defer sn.s.a.Leave(u)
	return sn.findInside(h, key)
}

// findInside is find for a caller that has entered the handle.
func (sn *Snapshot) findInside(h uint64, key []byte) (value []byte, birth uint64, err error) {
	v := sn.view(sn.s)
	l, status := v.r.Find(v.trie, h, key)
	if err := sn.check(); err != nil {
		return nil, 0, err // and what was found may have been reused
	}
	if status == node.Present {
		return v.r.Value(l), v.r.Birth(l), nil
	}
	if err = v.outcome(status, h, key); err != ErrNotFound {
		err = sn.s.fail("reading a snapshot of", err)
	}
	return nil, 0, err
}

// Has reports whether key is in the snapshot.
func (sn *Snapshot) Has(key []byte) (bool, error) {
	_, _, err := sn.find(sn.s.hashOf(key), key)
	return found(err)
}

// Len returns the number of entries, or 0 after Close.
func (sn *Snapshot) Len() int {
	u, ok := sn.s.a.Enter()
	if !ok {
		return 0
	}
	defer sn.s.a.Leave(u)
	n := sn.root().entries
	if sn.check() != nil {
		return 0
	}
	return int(min(uint64(n), math.MaxInt))
}

// root reads the root node of the snapshot, for a caller that has entered the handle.
func (sn *Snapshot) root() rootNode { return sn.s.rootAt(sn.pin.Off) }

// Version returns the number of the commit that the snapshot shows.
func (sn *Snapshot) Version() uint64 { return sn.pin.Version }

// All iterates over all entries, in no order. The loop ends early if the store is
// damaged, or if the snapshot or the store is closed: Err tells.
func (sn *Snapshot) All() iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		sn.loop(func() error {
			var closed error
			r := sn.s.reader()
			err := r.Walk(sn.trie, func(l node.Leaf) bool {
				if closed = sn.check(); closed != nil {
					return false
				}
				return yield(r.Key(l), r.Value(l))
			})
			if err != nil {
				return sn.s.fail("reading a snapshot of", err)
			}
			return closed
		})
	}
}

// Err returns the error that ended a loop over All, GetMany or Diff early: ErrClosed or
// ErrCorrupt, as a rule. It is nil if all loops have ended by themselves or by a
// break, and keeps the first error otherwise.
func (sn *Snapshot) Err() error {
	if err := sn.err.Load(); err != nil {
		return *err
	}
	return nil
}

// loop runs a loop over the snapshot and keeps its error.
func (sn *Snapshot) loop(fn func() error) {
	if err := sn.hold(fn); err != nil {
		sn.err.CompareAndSwap(nil, &err)
	}
}
