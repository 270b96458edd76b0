package shm

import "github.com/seed-869cc763/shmkv/node"

// An Ordered is a named map of a store in the order of bytes, that of bytes.Compare. Its
// calls are those of a Map, and those that use the order. What is said of a Map holds for
// it too.
//
// An entry of a small or middle-sized map is found in about the time that a hash map needs;
// a set copies some hundred bytes more. At, Rank and Count take time in proportion to the
// logarithm of the number of entries, as the others do. Loops are over a Snapshot or in a
// transaction: see OrderedView and TxOrdered.
//
// The order is kept by a counted B+tree: see package btree.
type Ordered struct {
	keyed
	target target
}

// Ordered returns the ordered map of this name, as Map returns a hash map.
func (s *Store) Ordered(name string) *Ordered {
	o := &Ordered{target: s.target(name, KindOrdered)}
	o.s, o.a, o.to = s, s.a, &o.target
	return o
}

// Min returns the entry of the least key, or ErrNotFound if the map is empty. The slices
// are the caller's own. Like Get, it leaves no trace in the store.
func (o *Ordered) Min() (key, value []byte, err error) { return o.entry(query{ask: askMin}) }

// Max returns the entry of the greatest key, as Min that of the least.
func (o *Ordered) Max() (key, value []byte, err error) { return o.entry(query{ask: askMax}) }

// Floor returns the entry of the greatest key that is not greater than limit, as Min.
func (o *Ordered) Floor(limit []byte) (key, value []byte, err error) {
	return o.entry(query{ask: askFloor, key: limit})
}

// Lower returns the entry of the greatest key that is less than limit, as Min.
func (o *Ordered) Lower(limit []byte) (key, value []byte, err error) {
	return o.entry(query{ask: askLower, key: limit})
}

// Ceil returns the entry of the least key that is not less than limit, as Min.
func (o *Ordered) Ceil(limit []byte) (key, value []byte, err error) {
	return o.entry(query{ask: askCeil, key: limit})
}

// Higher returns the entry of the least key that is greater than limit, as Min. To go
// through a map in order while others change it, call Higher with the last key.
func (o *Ordered) Higher(limit []byte) (key, value []byte, err error) {
	return o.entry(query{ask: askHigher, key: limit})
}

// At returns the entry that has i entries before it, as Min. It returns ErrNotFound if there
// is none, for a negative i too.
func (o *Ordered) At(i int) (key, value []byte, err error) { return o.entry(query{ask: askAt, at: i}) }

// entry returns the entry that a query asks for, in one allocation.
func (o *Ordered) entry(q query) (key, value []byte, err error) {
	err = o.look(func(v view, h hold) error {
		l, err := v.seek(q)
		if err != nil || !h.valid() {
			return err
		}
		entry := v.r.Mem.AppendTo(make([]byte, 0, l.DataBytes()), l.KeyOff(), uint64(l.DataBytes()))
		n := l.KeyLen()
		key, value = entry[:n:n], entry[n:]
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	return key, value, nil
}

// Rank returns how many keys of the map are less than key, and whether key is one of its
// keys.
func (o *Ordered) Rank(key []byte) (i int, found bool, err error) {
	err = o.look(func(v view, _ hold) (err error) {
		i, found, err = v.rank(key)
		return err
	})
	return i, found, err
}

// Count returns the number of keys that are not less than from and less than to. nil is an
// open end.
func (o *Ordered) Count(from, to []byte) (n int, err error) {
	err = o.look(func(v view, _ hold) (err error) {
		n, err = v.countIn(from, to)
		return err
	})
	return n, err
}

// DeleteRange deletes the entries whose keys are not less than from and less than to, in
// one commit, and returns their number. nil is an open end. It takes time and memory of the
// store in proportion to their number; [Store.DropMap] takes none for a whole map.
func (o *Ordered) DeleteRange(from, to []byte) (n int, err error) {
	err = o.s.Update(func(tx *Tx) (err error) {
		n, err = (&TxOrdered{txKeyed: txKeyed{tx: tx, to: o.to}}).DeleteRange(from, to)
		return err
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}

// leafOf returns the entry of a leaf that holds still.
func (v view) leafOf(l node.Leaf, err error) (key, value []byte, _ error) {
	if err != nil {
		return nil, nil, err
	}
	return v.r.Key(l), v.r.Value(l), nil
}
