package shm

import (
	"fmt"
	"sync/atomic"

	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/alloc/region"
	"github.com/seed-869cc763/shmkv/hamt"
)

// Snapshot is one version of the store, with all its maps: its calls on keys work on the
// unnamed map, Map and Ordered return the named ones. It sees that version until it is
// closed, also when its Store was closed before. Until then it holds the space of the
// entries that only it can see, and of no others. It may be used by many goroutines.
//
// The slices that it returns are memory of the store. A write to one faults. They must not
// be used after Close of the Snapshot, because their memory is reused. A Snapshot must not
// be closed while another goroutine is in its Get, Has, Len or Bytes, or in such a call of
// one of its maps.
type Snapshot struct {
	mapView // of the unnamed map
	s       *Store
	pin     alloc.Pin
	user    alloc.User            // of the handle, until the snapshot is closed and no loop is under way
	state   atomic.Uint32         // the number of loops under way, and snapshotClosed
	err     atomic.Pointer[error] // of the first loop that failed
}

// snapshotClosed is set in the state of a Snapshot that is closed. Its pin goes when
// that is all that the state says.
const snapshotClosed = 1 << 31

// pinned returns a pin, or the error of pinning it.
func (s *Store) pinned(pin alloc.Pin, err error) (alloc.Pin, error) {
	if err != nil {
		return pin, s.fail("taking a snapshot of", err)
	}
	return pin, nil
}

// begin makes a Snapshot that nobody has had one of a pinned version.
func (sn *Snapshot) begin(s *Store, pin alloc.Pin, user alloc.User) {
	sn.s, sn.pin, sn.user = s, pin, user
	sn.sn, sn.top = sn, trieAt(s.a.Mem(), pin.Off)
}

// reader returns a reader of everything that is pinned by now. The handle must know all
// of it.
func (s *Store) reader() hamt.Reader { return hamt.NewReader(s.a.Mem(), s.a.Known()) }

// Snapshot pins the current version. Close must follow. Until then the space of entries
// that are replaced cannot be reused, and the handle keeps its place among MaxProcesses,
// even if the Store is closed. If the process dies, other processes close its snapshots.
func (s *Store) Snapshot() (*Snapshot, error) {
	u, ok := s.a.Enter()
	if !ok {
		return nil, s.fail("taking a snapshot of", ErrClosed)
	}
	pin, err := s.pinned(s.a.Pin())
	if err != nil {
		s.a.Leave(u)
		return nil, err
	}
	sn := &Snapshot{}
	sn.begin(s, pin, u)
	return sn, nil
}

// View calls fn with a snapshot that is closed when fn returns, and stays so if fn
// has kept it.
func (s *Store) View(fn func(sn *Snapshot) error) error {
	u, ok := s.a.Enter()
	if !ok {
		return s.fail("taking a snapshot of", ErrClosed)
	}
	pin, err := s.pinned(s.a.PinBriefly())
	if err != nil {
		s.a.Leave(u)
		return err
	}
	sn := s.freshSnapshot()
	sn.begin(s, pin, u)
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
		return sn.closed()
	}
	return nil
}

// closed returns the error of a snapshot that is closed. It is not inlined, so that check
// is.
//
//go:noinline
func (sn *Snapshot) closed() error {
	return fmt.Errorf("shm: reading a snapshot of %s: %w", sn.s.path, ErrClosed)
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

// root reads the root node of the snapshot, which is open.
func (sn *Snapshot) root() rootNode { return sn.s.rootAt(sn.pin.Off) }

// Version returns the number of the commit that the snapshot shows.
func (sn *Snapshot) Version() uint64 { return sn.pin.Version }

// Err returns the error that ended a loop over the snapshot or one of its maps early:
// ErrClosed or ErrCorrupt, as a rule. It is nil if all loops have ended by themselves or by a
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
