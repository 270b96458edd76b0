package shm

import (
	"fmt"
	"time"

	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/node"
)

// Tx is a transaction: the store as it was when fn was called, with the
// transaction's own writes. Its calls on keys work on the unnamed map; Map and Ordered
// return the named ones. It is used by one goroutine, in fn only.
type Tx struct {
	txKeyed // of the unnamed map
	w       *writer
	done    bool
	failed  bool   // fn has returned an error
	sets    bool   // was asked to
	deletes bool   // was asked to
	changes uint64 // to be committed

	pending *pendingSets
	err     error // of a set: the transaction is lost
}

// pendingSets is the sets that are not in the tree of their map yet. They are put there
// many at a time, so that their waits for memory overlap.
type pendingSets struct {
	n      int
	table  *table
	hashes [16]uint64
	leaves [16]node.Leaf
}

// Update calls fn with a transaction and commits its changes as a whole if fn returns
// nil. If fn returns an error or panics, nothing is changed. A transaction that changed
// nothing commits nothing: one without writes, or whose sets found the values that they
// would write.
//
// Update is optimistic: if another commit came first, fn runs again on the new version.
// So fn should only read and write tx. It runs at most MaxRuns times, then the error is
// ErrConflict. fn may read the store by other means. A write by other means is refused
// with ErrNested.
//
// A large batch loses against small commits more often, and each time costs all of it. So
// when it has lost, it asks other writers to wait for about as long as it takes, at most
// half a second. Afterwards it lets them write for more than half of that time before it
// returns. Beside writers flat out a batch rarely runs more than three times, and the next
// batches of the handle run once. A thousand keys make a good batch.
//
// In a full store a transaction that only deletes and drops may use the reserve, as Delete may.
func (s *Store) Update(fn func(tx *Tx) error) error {
	_, err := s.UpdateVersion(fn)
	return err
}

// UpdateVersion is Update, and returns the version that shows the changes of fn: the one
// that it made, or if nothing was changed, the one that fn has seen. It returns 0 with an
// error, but for ErrFlush: then the commit was made, and is not durable.
func (s *Store) UpdateVersion(fn func(tx *Tx) error) (version uint64, err error) {
	return s.updateVersion(fn, false)
}

// UpdateUnpinned is Update without a pin. A process that is stopped in Update holds all that
// the store has at that time: what others replace or delete meanwhile gives no space back.
// Who evicts from a full store cannot bear that. A process that is stopped in UpdateUnpinned
// holds next to nothing.
//
// Instead, fn may find entries that are none: the store may have reused their memory, also
// while fn looks at them. Then what fn does and returns has no effect, and fn runs again. So
// fn must not trust what it finds: it must not panic because of it, or keep it. fn should be
// short: while it runs, other writers must not commit more often than about a hundred times.
// After a hundred such runs the error matches ErrConflict.
func (s *Store) UpdateUnpinned(fn func(tx *Tx) error) error {
	_, err := s.updateVersion(fn, true)
	return err
}

func (s *Store) updateVersion(fn func(tx *Tx) error, unpinned bool) (version uint64, err error) {
	for tries, round := 0, 0; ; {
		var frees bool
		version, frees, err = s.updateOnce(fn, unpinned)
		if err == nil {
			return version, s.persist()
		}
		if s.makesRoom(err, &round) {
			continue
		}
		if !frees || !waitForSpace(err, tries) {
			return 0, err
		}
		tries++
	}
}

// updateOnce also reports whether all that the transaction tried to write was
// deletes, or whether it did not get as far as fn: it may only read.
func (s *Store) updateOnce(fn func(tx *Tx) error, unpinned bool) (version uint64, frees bool, err error) {
	w, err := s.writer(alloc.Frees)
	if err != nil {
		return 0, true, s.fail("updating", err)
	}
	committed, done := false, false
	defer func() {
		if !done { // fn has panicked
			w.slot.Abort(0)
		}
		held := w.slot.OpenGate()
		w.end(committed)
		if done {
			s.rivals.letWrite(s, held)
		}
	}()
	s.functions.enter()
	defer s.functions.leave()
	var tx *Tx
	if unpinned {
		committed, tx, err = w.updateUnpinned(fn)
	} else {
		committed, tx, err = w.update(fn)
	}
	done = true
	switch {
	case err != nil && !tx.failed:
		err = s.fail("updating", err)
	case committed:
		version = w.at.Version + 1
	case err == nil:
		version = w.at.Version
	}
	return version, tx.deletes && !tx.sets, err
}

// update returns the last transaction, and whether it was committed.
func (w *writer) update(fn func(tx *Tx) error) (committed bool, tx *Tx, err error) {
	took := time.Duration(0) // of the shortest run that was not behind a gate
	for lost := 0; ; lost++ {
		w.pending.n = 0
		tx = &Tx{w: w, pending: &w.pending}
		tx.txKeyed.tx = tx
		gated := w.s.rivals.holdBack(w, lost, took)
		if err := w.begin(); err != nil {
			return false, tx, w.abandon(err)
		}
		began := time.Now()
		w.trie.KeepLeaves = true
		err := func() error {
			defer func() { tx.done = true }()
			return fn(tx)
		}()
		if tx.failed = err != nil; !tx.failed {
			err = tx.flush()
		}
		if err != nil || tx.changes == 0 {
			return false, tx, w.abandon(err)
		}
		won, err := w.commit(tx.changes)
		if err != nil {
			return false, tx, w.abandon(err)
		}
		if won {
			return true, tx, nil
		}
		if lost+1 == MaxRuns {
			return false, tx, w.abandon(errConflict())
		}
		w.slot.Abort(0)
		if run := time.Since(began); !gated && (took == 0 || run < took) {
			took = run
		}
	}
}

// updateUnpinned is update for a light transaction.
func (w *writer) updateUnpinned(fn func(tx *Tx) error) (committed bool, tx *Tx, err error) {
	committed, err, sound := w.unpinned(unpinnedTries, func() (committed bool, err error) {
		committed, tx, err = w.update(fn)
		return committed, err
	})
	if !sound {
		return false, &Tx{w: w}, fmt.Errorf("%w: memory that it has read was reused in each of %d runs", ErrConflict, unpinnedTries)
	}
	return committed, tx, err
}

// unpinnedTries is how often UpdateUnpinned tries.
const unpinnedTries = 100

func (tx *Tx) fail(op string, err error) error { return tx.w.s.fail(op, err) }

// warmFrom is how many entries a store has whose trie is not in the caches anyway.
const warmFrom = 10_000

// flush puts the pending sets into their tree. If that fails the transaction is lost.
func (tx *Tx) flush() error {
	p, w := tx.pending, tx.w
	if p.n > 1 && tx.err == nil && p.table.now.Entries >= warmFrom && !p.table.to.ordered() {
		w.trieOf(p.table).Warm(p.hashes[:p.n])
	}
	for i := 0; i < p.n && tx.err == nil; i++ {
		var did node.Effect
		if did, tx.err = w.setLeaf(p.table, p.hashes[i], p.leaves[i]); did != node.Unchanged {
			tx.changes++
		}
	}
	p.n = 0
	return tx.err
}

// Err returns the error by which the transaction is lost, if it is: a set was
// refused, or a loop met damage or a map of another kind. Update returns it if fn does not.
func (tx *Tx) Err() error {
	if tx.err == nil {
		return nil
	}
	return tx.fail("updating", tx.err)
}

var errTxDone = fmt.Errorf("%w: the transaction's function has returned", ErrClosed)
