package shm

import (
	"errors"

	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/btree"
	"github.com/seed-869cc763/shmkv/hamt"
	"github.com/seed-869cc763/shmkv/node"
)

// A writer is a slot with the state of one transaction.
type writer struct {
	slot  *alloc.Slot
	s     *Store
	at    alloc.Root // of the version that the transaction builds on
	root  rootNode   // of that version
	limit uint64     // of what may be touched from there
	use   alloc.User // from writer to release

	trie    hamt.Tx  // of all hash maps and the directory
	inTrie  *table   // the one that trie works on; nil: none, or a trie of records
	tree    btree.Tx // of all ordered maps
	ordered bool     // the transaction has begun to use tree
	unnamed table
	tables  openTables
	sums    uint64                           // a flag of the leaves that the transaction makes: node.HasSum or 0
	record  [node.WordSize + recordSize]byte // of the last setRecord
	payload [alloc.PayloadWords]uint64       // of the root node, from finish on

	light   bool   // transactions begin without a pin
	guarded bool   // and a fault in one is caught
	old     []byte // a copy of the value that a decision looks at

	pending pendingSets    // of an Update
	changes []btree.Change // of an EditMany
}

// writer enters the handle and takes a slot, for release to give back.
func (s *Store) writer(use alloc.Use) (*writer, error) {
	u, ok := s.a.Enter()
	if !ok {
		return nil, ErrClosed
	}
	w, err := s.take(use)
	if err == nil && s.functions.running() {
		s.a.Release(w.slot)
		err = ErrNested
	}
	if err != nil {
		s.a.Leave(u)
		return nil, err
	}
	w.use = u
	return w, nil
}

// take takes a slot for a caller that has entered the handle. The writer of a slot is kept
// for the next transaction in that slot.
func (s *Store) take(use alloc.Use) (*writer, error) {
	slot, err := s.a.Slot(use)
	if err != nil {
		return nil, err
	}
	kept := &s.kept[slot.Index()]
	w := kept.Load()
	if w == nil || w.slot != slot { // else another process has had a slot of this number
		w = &writer{slot: slot, s: s}
		kept.Store(w)
	}
	w.light = false
	slot.PassGate()
	return w, nil
}

// release gives the slot back. The writer may be another goroutine's at once.
func (w *writer) release() {
	a, u := w.s.a, w.use
	a.Release(w.slot)
	a.Leave(u)
}

// begin starts a transaction on the current version.
func (w *writer) begin() error {
	if err := w.take(); err != nil {
		return err
	}
	w.reset()
	return nil
}

// take takes the current version as the one to build on, and pins it unless the
// transaction is light.
func (w *writer) take() (err error) {
	if w.light {
		w.at, err = w.slot.BeginLight()
	} else {
		w.at, err = w.slot.Begin()
	}
	if err != nil {
		return err
	}
	if w.limit, err = w.s.a.Limit(); err != nil {
		w.slot.End()
		return err
	}
	if w.light && !w.guarded && w.s.a.Punched() {
		return errUnguarded
	}
	w.root = w.s.rootAt(w.at.Off)
	return nil
}

// errUnguarded: there are holes in the file, and a light transaction may be led to one.
var errUnguarded = errors.New("there are holes since now")

// errNeedsPin: the transaction cannot be light.
var errNeedsPin = errors.New("a long value is looked at")

// lightly carries out a transaction that ends at once: try begins it and commits it, or
// finds that there is nothing to commit. At first the transaction is light. If memory that
// it has read was reused meanwhile, its result means nothing, and it is carried out again,
// in the end under a pin.
func (w *writer) lightly(try func() (committed bool, err error)) (committed bool, err error) {
	committed, err, sound := w.unpinned(lightTries, try)
	if sound {
		return committed, err
	}
	return try()
}

// unpinned carries out a light transaction, and tries it again that often at most if memory
// that it has read was reused meanwhile. Unless sound, nothing has happened.
func (w *writer) unpinned(tries int, try func() (committed bool, err error)) (committed bool, err error, sound bool) {
	w.light, w.guarded = true, w.s.a.Punched()
	for range tries {
		if w.guarded {
			if guarded(func() { committed, err = try() }) {
				committed, err = false, errUnguarded // a pin tells whether it is damage
			}
		} else {
			committed, err = try()
		}
		if committed || err != errUnguarded && err != errNeedsPin && w.slot.Sound() {
			w.light = false
			return committed, err, true
		}
		w.slot.Abort(0)
		w.slot.End()
		if err == errNeedsPin {
			break
		}
		w.guarded = true
	}
	w.light = false
	return false, nil, false
}

// lightTries bounds how often a transaction is tried without a pin.
const lightTries = 3

// reset makes the transaction one on the version that was taken.
func (w *writer) reset() {
	w.trie.Reset(w.taken(), w.slot, w.s.hash, w.root.unnamed)
	w.sums, w.trie.Extra.Flags = w.s.sums, w.s.sums
	w.unnamed.now, w.inTrie, w.ordered = w.root.unnamed, &w.unnamed, false
	w.tables.reset()
}

// taken reads the version that was taken, through the writable mapping.
func (w *writer) taken() hamt.Reader { return hamt.NewReader(w.slot.Mem(), w.limit) }

// rebase brings a transaction that changed one key, of hash h, and that was overtaken, to
// the version that is current now. It reports false if the change has to be made again on
// that version. Then all blocks of the transaction are still allocated. That is so for each
// change of a named map: a commit that overtakes it replaces the directory, as a rule.
func (w *writer) rebase(h uint64) (stands bool, err error) {
	was := w.at.Version
	if err := w.take(); err != nil || len(w.tables.all) > 0 {
		return false, err
	}
	stands, err = w.trie.Rebase(w.taken(), w.root.unnamed, h, was)
	w.unnamed.now = w.trie.Tree
	return stands, err
}

// rebaseMany brings a group that was overtaken to the version that is current now. It
// reports false if the group has to be made again.
func (w *writer) rebaseMany() (bool, error) {
	was := w.at.Version
	if err := w.take(); err != nil {
		return false, err
	}
	stands, err := w.trie.RebaseMany(w.taken(), w.root.unnamed, was)
	w.unnamed.now = w.trie.Tree
	return stands, err
}

// commit publishes the transaction. changes is added to the counters. If another commit
// came first, commit returns false, and the caller aborts the transaction or rebases it.
func (w *writer) commit(changes uint64) (bool, error) {
	if w.light {
		w.slot.PassGate() // it may have been closed since; nothing is pinned
	}
	if err := w.finish(); err != nil {
		return false, err
	}
	won, err := w.slot.Commit(&w.payload)
	if won {
		w.slot.CountChanges(changes)
	}
	return won, err
}

// abandon gives the transaction up because of err, which it returns.
func (w *writer) abandon(err error) error {
	w.slot.Abort(0)
	if errors.Is(err, alloc.ErrFull) {
		w.slot.CountRefused()
	}
	return err
}

// conclude ends a transaction that was committed, or given up and aborted.
func (w *writer) conclude(committed bool) {
	w.slot.End()
	if committed {
		w.s.a.Notify()
		w.slot.ReclaimIfDue()
		w.s.keeper.wake(w.s)
		if w.root.dropped != 0 {
			_ = w.takeApart() // the next commit tries again
		}
	}
}

// end ends a transaction and gives the slot back.
func (w *writer) end(committed bool) {
	w.conclude(committed)
	s, took := w.s, w.slot.TookReserve()
	w.release()
	if took {
		s.makeRoom(1, 1, false)
	}
}
