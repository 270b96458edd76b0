package shm

import (
	"bytes"
	"fmt"
	"iter"

	"github.com/seed-869cc763/shmkv/node"
)

// txKeyed is the calls on one map of a transaction. A Tx has those of the unnamed map.
type txKeyed struct {
	tx    *Tx
	to    *target
	known *table // nil until the first call
}

// fail wraps an error with the map and the store.
func (k *txKeyed) fail(op string, err error) error { return k.tx.w.s.fail(k.to.op(op), err) }

// table returns the table of the map, or the error why the transaction cannot use it.
func (k *txKeyed) table(op string) (*table, error) {
	switch {
	case k.tx.done:
		return nil, errTxDone
	case k.tx.err != nil:
		return nil, k.fail("writing to", k.tx.err)
	case k.known != nil && k.known.to.ordered() == k.to.ordered():
		return k.known, nil
	}
	t, err := k.tx.w.table(k.to)
	if err != nil {
		return nil, k.fail(op, err)
	}
	k.known = t
	return t, nil
}

// flushed is table, after all sets that were pending were carried out.
func (k *txKeyed) flushed(op string) (*table, error) {
	t, err := k.table(op)
	if err == nil && k.tx.flush() != nil {
		return nil, k.fail("writing to", k.tx.err)
	}
	return t, err
}

// Get returns the value of key, not copied, or ErrNotFound. The slice is valid
// until fn returns, and must not be written to.
func (k *txKeyed) Get(key []byte) ([]byte, error) {
	v, l, _, err := k.find(key)
	if err != nil {
		return nil, err
	}
	return v.r.Value(l), nil
}

// GetVersion returns the value of key, not copied, and the version of the commit that
// last wrote the entry, as [Store.GetVersion] does. The version of an entry that the
// transaction itself has written is 0.
func (k *txKeyed) GetVersion(key []byte) (value []byte, version uint64, err error) {
	if !k.tx.done {
		_ = k.tx.flush() // a set of the value that is there writes nothing
	}
	v, l, own, err := k.find(key)
	if err != nil {
		return nil, 0, err
	}
	if !own {
		version = v.r.Birth(l)
	}
	return v.r.Value(l), version, nil
}

// find returns the leaf of key, and whether it is the transaction's own.
func (k *txKeyed) find(key []byte) (v view, l node.Leaf, own bool, err error) {
	t, err := k.table("reading")
	if err != nil {
		return v, l, false, err
	}
	h := k.tx.w.s.hashIn(k.to, key)
	v = k.tx.w.view(t)
	if p := k.tx.pending; p.table == t {
		if l, ok := p.find(v.r.Reader, h, key); ok {
			return v, l, true, nil
		}
	}
	l, err = v.find(h, key)
	if err != nil && err != ErrNotFound {
		err = k.fail("reading", err)
	}
	return v, l, err == nil && k.tx.w.slot.Mine(l.Off, l.Size()), err
}

// find returns the leaf of the last pending set of key.
func (p *pendingSets) find(r node.Reader, h uint64, key []byte) (node.Leaf, bool) {
	for i := p.n - 1; i >= 0; i-- {
		if p.hashes[i] == h && bytes.Equal(r.Key(p.leaves[i]), key) {
			return p.leaves[i], true
		}
	}
	return node.Leaf{}, false
}

// GetMany iterates over the values of keys, by their index in keys and in order; nil means that
// the key is not there. It sees the transaction's own writes before the call. The slices are
// valid until fn returns, and must not be written to. In large hash maps it takes less time for
// a key than Get, because the waits for memory overlap. If the store is damaged, or if the map is
// of another kind, the loop ends early, and the transaction is lost: the transaction's Err tells.
func (k *txKeyed) GetMany(keys [][]byte) iter.Seq2[int, []byte] {
	return func(yield func(i int, value []byte) bool) {
		tx := k.tx
		if tx.done || tx.err != nil {
			return
		}
		t, err := tx.w.table(k.to)
		if err == nil {
			err = tx.flush()
		}
		if err == nil {
			m := many{s: tx.w.s, to: k.to, view: tx.w.view(t)}
			err = m.run(keys, func(i int, value []byte) bool { return yield(i, value) && !tx.done })
		}
		if err != nil && !tx.done {
			tx.err = err
		}
	}
}

// Has reports whether key is there.
func (k *txKeyed) Has(key []byte) (bool, error) {
	_, _, _, err := k.find(key)
	return found(err)
}

// Set makes value the value of key. Both are copied. A nil value is an empty one. A set
// may be refused, with ErrFull for one, by a later call or at the end, since many are
// carried out together; the transaction is lost then: Update returns that error if fn does
// not.
func (k *txKeyed) Set(key, value []byte) error {
	tx, w := k.tx, k.tx.w
	if tx.done {
		return errTxDone
	}
	if err := w.s.checkSizes(k.to.extra(w.sums).Flags, key, value); err != nil {
		return k.fail("writing to", err)
	}
	t, err := k.table("writing to")
	if err != nil {
		return err
	}
	tx.sets = true
	w.slot.AllowReserve(false)
	p := tx.pending
	if p.table != t {
		_ = tx.flush()
		p.table = t
	}
	if tx.err == nil {
		p.leaves[p.n], tx.err = w.newLeaf(t, key, value)
	}
	if tx.err == nil {
		p.hashes[p.n] = k.tx.w.s.hashIn(k.to, key)
		if p.n++; p.n == len(p.leaves) {
			_ = tx.flush()
		}
	}
	if tx.err != nil {
		return k.fail("writing to", tx.err)
	}
	return nil
}

// Delete removes key and reports whether it was there.
func (k *txKeyed) Delete(key []byte) (existed bool, err error) {
	t, err := k.flushed("deleting from")
	if err != nil {
		return false, err
	}
	tx := k.tx
	tx.deletes = true
	tx.w.slot.AllowReserve(!tx.sets)
	existed, err = tx.w.remove(t, k.tx.w.s.hashIn(k.to, key), key)
	if err != nil {
		return false, k.fail("deleting from", err)
	}
	if existed {
		tx.changes++
	}
	return existed, nil
}

// Len returns the number of entries. It is 0 for a map of another kind.
func (k *txKeyed) Len() int {
	t, err := k.flushed("reading")
	if err != nil {
		return 0
	}
	return int(t.now.Entries)
}

// All iterates over all entries, of a hash map in no order, as they are when the iteration
// begins, the transaction's own writes included. The loop may write to the
// transaction. The slices are valid until fn returns. If the store is damaged, or if the
// map is of another kind, the loop ends early, and the transaction is lost: the
// transaction's Err tells.
func (k *txKeyed) All() iter.Seq2[[]byte, []byte] {
	return k.scan(scan{})
}

// scan iterates over the entries of a scan.
func (k *txKeyed) scan(s scan) iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		tx := k.tx
		if tx.done || tx.err != nil {
			return
		}
		t, err := k.tx.w.table(k.to)
		if err == nil {
			err = tx.flush()
		}
		if err == nil {
			r := tx.w.view(t).r
			err = tx.w.walk(t, s, func(l node.Leaf) bool {
				return yield(r.Key(l), r.Value(l)) && !tx.done
			})
		}
		if err != nil && !tx.done {
			tx.err = err
		}
	}
}

// create makes the map be there, even without entries.
func (k *txKeyed) create() error {
	t, err := k.table("writing to")
	if err != nil {
		return err
	}
	if !t.there && !t.create {
		t.create = true
		k.tx.changes++
	}
	return nil
}

// drop drops a map that the transaction has not used.
func (tx *Tx) drop(to *target) (there bool, err error) {
	if tx.w.tables.find(to.name) != nil {
		return false, fmt.Errorf("%w: found the drop of map %.40q after changes of it", ErrCorrupt, to.name)
	}
	if there, err = tx.w.moveToDropped(to); there && err == nil {
		tx.changes++
	}
	return there, err
}
