package shm

import (
	"iter"

	"github.com/seed-869cc763/shmkv/node"
)

// A TxOrdered is an ordered map in a transaction, with the transaction's own writes. What is
// said of a TxMap holds for it too. Its slices are valid until the function of the
// transaction returns, and must not be written to.
type TxOrdered struct {
	txKeyed
	target target
}

// Ordered returns the transaction's ordered map of this name.
func (tx *Tx) Ordered(name string) *TxOrdered {
	o := &TxOrdered{target: tx.w.s.target(name, KindOrdered)}
	o.txKeyed = txKeyed{tx: tx, to: &o.target}
	return o
}

// Create makes the map be there, even without entries.
func (o *TxOrdered) Create() error { return o.create() }

// Min returns the entry of the least key, or ErrNotFound if the map is empty.
func (o *TxOrdered) Min() (key, value []byte, err error) { return o.entry(query{ask: askMin}) }

// Max returns the entry of the greatest key, or ErrNotFound.
func (o *TxOrdered) Max() (key, value []byte, err error) { return o.entry(query{ask: askMax}) }

// Floor returns the entry of the greatest key that is not greater than limit, or
// ErrNotFound.
func (o *TxOrdered) Floor(limit []byte) (key, value []byte, err error) {
	return o.entry(query{ask: askFloor, key: limit})
}

// Lower returns the entry of the greatest key that is less than limit, or ErrNotFound.
func (o *TxOrdered) Lower(limit []byte) (key, value []byte, err error) {
	return o.entry(query{ask: askLower, key: limit})
}

// Ceil returns the entry of the least key that is not less than limit, or ErrNotFound.
func (o *TxOrdered) Ceil(limit []byte) (key, value []byte, err error) {
	return o.entry(query{ask: askCeil, key: limit})
}

// Higher returns the entry of the least key that is greater than limit, or ErrNotFound.
func (o *TxOrdered) Higher(limit []byte) (key, value []byte, err error) {
	return o.entry(query{ask: askHigher, key: limit})
}

// At returns the entry that has i entries before it, or ErrNotFound.
func (o *TxOrdered) At(i int) (key, value []byte, err error) {
	return o.entry(query{ask: askAt, at: i})
}

// entry returns the entry that a query asks for.
func (o *TxOrdered) entry(q query) (key, value []byte, err error) {
	err = o.read(func(v view) (err error) {
		key, value, err = v.leafOf(v.seek(q))
		return err
	})
	return key, value, err
}

// read calls read with the map as the transaction has changed it.
func (o *TxOrdered) read(read func(v view) error) error {
	t, err := o.flushed("reading")
	if err != nil {
		return err
	}
	if err = read(o.tx.w.view(t)); err != nil && err != ErrNotFound {
		err = o.fail("reading", err)
	}
	return err
}

// Rank returns how many keys of the map are less than key, and whether key is one of its
// keys.
func (o *TxOrdered) Rank(key []byte) (i int, found bool, err error) {
	err = o.read(func(v view) (err error) {
		i, found, err = v.rank(key)
		return err
	})
	return i, found, err
}

// Count returns the number of keys that are not less than from and less than to. nil is an
// open end.
func (o *TxOrdered) Count(from, to []byte) (n int, err error) {
	err = o.read(func(v view) (err error) {
		n, err = v.countIn(from, to)
		return err
	})
	return n, err
}

// All iterates over all entries, in ascending order, as [Tx.All] does.
func (o *TxOrdered) All() iter.Seq2[[]byte, []byte] { return o.scan(scan{}) }

// Range iterates, in ascending order, over the entries whose keys are not less than from
// and less than to. nil is an open end. As in [Tx.All], the loop may write to the
// transaction, and does not see that.
func (o *TxOrdered) Range(from, to []byte) iter.Seq2[[]byte, []byte] {
	return o.scan(scan{from: from, to: to})
}

// Backward is Range in descending order.
func (o *TxOrdered) Backward(from, to []byte) iter.Seq2[[]byte, []byte] {
	return o.scan(scan{from: from, to: to, backward: true})
}

// Prefix iterates, in ascending order, over the entries whose keys begin with p, as Range.
func (o *TxOrdered) Prefix(p []byte) iter.Seq2[[]byte, []byte] { return o.scan(prefixed(p)) }

// deleteStep is how many entries DeleteRange looks up before it deletes them.
const deleteStep = 1024

// DeleteRange deletes the entries whose keys are not less than from and less than to, and
// returns their number. nil is an open end.
func (o *TxOrdered) DeleteRange(from, to []byte) (n int, err error) {
	for {
		var leaves []node.Leaf
		var v view
		err := o.read(func(now view) error {
			v = now
			return v.btree().Range(v.tree.Root, from, to, func(l node.Leaf) bool {
				leaves = append(leaves, l)
				return len(leaves) < deleteStep
			})
		})
		if err != nil {
			return 0, err
		}
		for _, l := range leaves {
			existed, err := o.Delete(v.r.Key(l))
			if err != nil {
				return 0, err
			}
			if existed {
				n++
			}
		}
		if len(leaves) < deleteStep {
			return n, nil
		}
	}
}
