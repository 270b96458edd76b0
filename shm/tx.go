package shm

import (
	"bytes"
	"fmt"
	"iter"
	"time"

	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/hamt"
	"github.com/seed-869cc763/shmkv/node"
)

// Tx is a transaction: the store as it was when fn was called, with the
// transaction's own writes. It is used by one goroutine, in fn only.
type Tx struct {
	w       *writer
	done    bool
	failed  bool   // fn has returned an error
	sets    bool   // was asked to
	deletes bool   // was asked to
	changes uint64 // to be committed

	pending *pendingSets
	err     error // of a set: the transaction is lost
}

// pendingSets is the sets that are not in the trie yet. They are put there many at a
// time, so that their waits for memory overlap.
type pendingSets struct {
	n      int
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
// In a full store a transaction that only deletes may use the reserve, as Delete may.
func (s *Store) Update(fn func(tx *Tx) error) error {
	_, err := s.UpdateVersion(fn)
	return err
}

// UpdateVersion is Update, and returns the version that shows the changes of fn: the one
// that it made, or if nothing was changed, the one that fn has seen. It returns 0 with an
// error.
func (s *Store) UpdateVersion(fn func(tx *Tx) error) (version uint64, err error) {
	for tries, round := 0, 0; ; {
		var frees bool
		version, frees, err = s.updateOnce(fn)
		if err == nil {
			return version, nil
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
func (s *Store) updateOnce(fn func(tx *Tx) error) (version uint64, frees bool, err error) {
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
		w.finish(committed)
		if done {
			s.rivals.letWrite(s, held)
		}
	}()
	s.functions.enter()
	defer s.functions.leave()
	var tx *Tx
	committed, tx, err = w.update(fn)
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
		gated := w.s.rivals.holdBack(w, lost, took)
		if err := w.begin(); err != nil {
			return false, tx, w.abandon(err)
		}
		began := time.Now()
		w.tx.KeepLeaves = true
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

func (tx *Tx) fail(op string, err error) error { return tx.w.s.fail(op, err) }

// find returns the leaf of the last pending set of key.
func (p *pendingSets) find(r hamt.Reader, h uint64, key []byte) (node.Leaf, bool) {
	for i := p.n - 1; i >= 0; i-- {
		if p.hashes[i] == h && bytes.Equal(r.Key(p.leaves[i]), key) {
			return p.leaves[i], true
		}
	}
	return node.Leaf{}, false
}

// warmFrom is how many entries a store has whose trie is not in the caches anyway.
const warmFrom = 10_000

// flush puts the pending sets into the trie. If that fails the transaction is lost.
func (tx *Tx) flush() error {
	p := tx.pending
	if p.n > 1 && tx.err == nil && tx.w.tx.Entries >= warmFrom {
		tx.w.tx.Warm(p.hashes[:p.n])
	}
	for i := 0; i < p.n && tx.err == nil; i++ {
		var did node.Effect
		if _, did, tx.err = tx.w.tx.SetLeaf(p.hashes[i], p.leaves[i]); did != node.Unchanged {
			tx.changes++
		}
	}
	p.n = 0
	return tx.err
}

var errTxDone = fmt.Errorf("%w: the transaction's function has returned", ErrClosed)

// Get returns the value of key, not copied, or ErrNotFound. The slice is valid
// until fn returns, and must not be written to.
func (tx *Tx) Get(key []byte) ([]byte, error) {
	r, l, _, err := tx.find(key)
	if err != nil {
		return nil, err
	}
	return r.Value(l), nil
}

// GetVersion returns the value of key, not copied, and the version of the commit that
// last wrote the entry, as [Store.GetVersion] does. The version of an entry that the
// transaction itself has written is 0.
func (tx *Tx) GetVersion(key []byte) (value []byte, version uint64, err error) {
	if !tx.done {
		_ = tx.flush() // a set of the value that is there writes nothing
	}
	r, l, own, err := tx.find(key)
	if err != nil {
		return nil, 0, err
	}
	if !own {
		version = r.Birth(l)
	}
	return r.Value(l), version, nil
}

// find returns the leaf of key, and whether it is the transaction's own.
func (tx *Tx) find(key []byte) (r hamt.Reader, l node.Leaf, own bool, err error) {
	if tx.done {
		return r, l, false, errTxDone
	}
	if tx.err != nil {
		return r, l, false, tx.fail("writing to", tx.err)
	}
	v, h := tx.w.view(), tx.w.s.hashOf(key)
	if l, ok := tx.pending.find(v.r, h, key); ok {
		return v.r, l, true, nil
	}
	l, err = v.find(h, key)
	if err != nil && err != ErrNotFound {
		err = tx.fail("reading", err)
	}
	return v.r, l, err == nil && tx.w.slot.Mine(l.Off, l.Size()), err
}

// Has reports whether key is there.
func (tx *Tx) Has(key []byte) (bool, error) {
	_, _, _, err := tx.find(key)
	return found(err)
}

// Set makes value the value of key. Both are copied. A nil value is an empty one. A set may be refused, with
// ErrFull for one, by a later call or at the end, since many are carried out
// together; the transaction is lost then: Update returns that error if fn does not.
func (tx *Tx) Set(key, value []byte) error {
	if tx.done {
		return errTxDone
	}
	if err := tx.w.s.checkSizes(key, value); err != nil {
		return tx.fail("writing to", err)
	}
	tx.sets = true
	tx.w.slot.AllowReserve(false)
	p := tx.pending
	if tx.err == nil {
		p.leaves[p.n], tx.err = tx.w.tx.NewLeaf(key, value)
	}
	if tx.err == nil {
		p.hashes[p.n] = tx.w.s.hashOf(key)
		if p.n++; p.n == len(p.leaves) {
			_ = tx.flush()
		}
	}
	if tx.err != nil {
		return tx.fail("writing to", tx.err)
	}
	return nil
}

// Delete removes key and reports whether it was there.
func (tx *Tx) Delete(key []byte) (existed bool, err error) {
	if tx.done {
		return false, errTxDone
	}
	if err := tx.flush(); err != nil {
		return false, tx.fail("writing to", err)
	}
	tx.deletes = true
	tx.w.slot.AllowReserve(!tx.sets)
	_, existed, err = tx.w.tx.Delete(tx.w.s.hashOf(key), key)
	if err != nil {
		return false, tx.fail("deleting from", err)
	}
	if existed {
		tx.changes++
	}
	return existed, nil
}

// Len returns the number of entries.
func (tx *Tx) Len() int {
	if tx.done || tx.flush() != nil {
		return 0
	}
	return int(tx.w.tx.Entries)
}

// All iterates over all entries, in no order, as they are when the iteration
// begins, the transaction's own writes included. The loop may write to the
// transaction. The slices are valid until fn returns. If the store is damaged the
// loop ends early, and the transaction is lost: Err tells.
func (tx *Tx) All() iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		if tx.done || tx.flush() != nil {
			return
		}
		r := tx.w.view().r
		err := tx.w.tx.Walk(func(l node.Leaf) bool {
			return yield(r.Key(l), r.Value(l)) && !tx.done
		})
		if err != nil && !tx.done {
			tx.err = err
		}
	}
}

// Err returns the error by which the transaction is lost, if it is: a set was
// refused, or a loop over All met damage. Update returns it if fn does not.
func (tx *Tx) Err() error {
	if tx.err == nil {
		return nil
	}
	return tx.fail("updating", tx.err)
}
