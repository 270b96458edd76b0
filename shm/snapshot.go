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
// closed, also when its Store was closed before. Until then it holds the space of the
// entries that only it can see, and of no others. It may be used by many goroutines.
//
// The slices that it returns are memory of the store. A write to one faults. They must not
// be used after Close of the Snapshot, because their memory is reused. A Snapshot must not
// be closed while another goroutine is in its Get, Has, Len or Bytes.
type Snapshot struct {
	s *Store
	pinned
	user  alloc.User            // of the handle, until the snapshot is closed and no loop is under way
	state atomic.Uint32         // the number of loops under way, and snapshotClosed
	err   atomic.Pointer[error] // of the first loop that failed
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
// that are replaced cannot be reused, and the handle keeps its place among MaxProcesses,
// even if the Store is closed. If the process dies, other processes close its snapshots.
func (s *Store) Snapshot() (*Snapshot, error) {
	u, ok := s.a.Enter()
	if !ok {
		return nil, s.fail("taking a snapshot of", ErrClosed)
	}
	p, err := s.pinned(s.a.Pin())
	if err != nil {
		s.a.Leave(u)
		return nil, err
	}
	return &Snapshot{s: s, pinned: p, user: u}, nil
}

// View calls fn with a snapshot that is closed when fn returns, and stays so if fn
// has kept it.
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
	sn.s, sn.pinned, sn.user = s, p, u
	defer func() { _ = sn.Close() }()
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

// Close lets the snapshot's version go. It is idempotent. Loops over All, GetMany and
// Diff that are under way end with ErrClosed. If the Store was closed before, the last of
// its snapshots to close gives up the handle's mappings and its entry in the file procs.
func (sn *Snapshot) Close() error {
	if sn.state.CompareAndSwap(0, snapshotClosed) || sn.state.Or(snapshotClosed) == 0 {
		sn.end()
	}
	return nil
}

// end lets go of the pin and of the handle, when the snapshot is closed and no loop is
// under way.
func (sn *Snapshot) end() {
	sn.s.a.Unpin(sn.pin)
	sn.s.a.Leave(sn.user)
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
		sn.end()
	}
}

// check returns ErrClosed if the snapshot is closed.
func (sn *Snapshot) check() error {
	if sn.state.Load()&snapshotClosed != 0 {
		return fmt.Errorf("shm: reading a snapshot of %s: %w", sn.s.path, ErrClosed)
	}
	return nil
}

// fail wraps an error with the operation and the path of the store.
func (sn *Snapshot) fail(op string, err error) error { return sn.s.failAt(op, err) }

// hold calls fn while the snapshot's version stays pinned and mapped, even if the
// snapshot is closed in between.
func (sn *Snapshot) hold(fn func() error) error {
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

// find looks up key, whose hash is h. It reads nothing of a snapshot that is closed, and
// does not believe what it has found if the snapshot was closed in between.
func (sn *Snapshot) find(h uint64, key []byte) (value []byte, birth uint64, err error) {
	if err := sn.check(); err != nil {
		return nil, 0, err
	}
	v := sn.view(sn.s)
	l, status := v.r.Find(v.trie, h, key)
	if err := sn.check(); err != nil {
		return nil, 0, err
	}
	if status == node.Present {
		return v.r.Value(l), v.r.Birth(l), nil
	}
	if err = v.outcome(status, h, key); err != ErrNotFound {
		err = sn.fail("reading a snapshot of", err)
	}
	return nil, 0, err
}

// Has reports whether key is in the snapshot.
func (sn *Snapshot) Has(key []byte) (bool, error) {
	_, _, err := sn.find(sn.s.hashOf(key), key)
	return found(err)
}

// Len returns the number of entries, or 0 after Close.
func (sn *Snapshot) Len() int { return int(min(sn.size().entries, math.MaxInt)) }

// Bytes returns the number of bytes of all keys and values, or 0 after Close. The store
// takes more memory than that: see Stats.
func (sn *Snapshot) Bytes() int64 { return sn.size().dataBytes }

// size reads the root node, unless the snapshot is closed.
func (sn *Snapshot) size() rootNode {
	if sn.check() != nil {
		return rootNode{}
	}
	root := sn.root()
	if sn.check() != nil {
		return rootNode{}
	}
	return root
}

// root reads the root node of the snapshot, which is open.
func (sn *Snapshot) root() rootNode { return sn.s.rootAt(sn.pin.Off) }

// Version returns the number of the commit that the snapshot shows.
func (sn *Snapshot) Version() uint64 { return sn.pin.Version }

// All iterates over all entries, in no order. The loop ends early if the store is
// damaged, or if the snapshot is closed: Err tells.
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
				return sn.fail("reading a snapshot of", err)
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
