package shm

import (
	"iter"
)

// An OrderedView is an ordered map as a Snapshot sees it. What is said of a MapView holds
// for it too. Its slices are memory of the store, as those of the Snapshot are.
type OrderedView struct {
	mapView
	target target
}

// Ordered returns the snapshot's ordered map of this name.
func (sn *Snapshot) Ordered(name string) *OrderedView {
	o := &OrderedView{target: sn.s.target(name, KindOrdered)}
	o.mapView = sn.of(&o.target)
	return o
}

// Min returns the entry of the least key, or ErrNotFound if the map is empty.
func (o *OrderedView) Min() (key, value []byte, err error) { return o.entry(query{ask: askMin}) }

// Max returns the entry of the greatest key, or ErrNotFound.
func (o *OrderedView) Max() (key, value []byte, err error) { return o.entry(query{ask: askMax}) }

// Floor returns the entry of the greatest key that is not greater than limit, or
// ErrNotFound.
func (o *OrderedView) Floor(limit []byte) (key, value []byte, err error) {
	return o.entry(query{ask: askFloor, key: limit})
}

// Lower returns the entry of the greatest key that is less than limit, or ErrNotFound.
func (o *OrderedView) Lower(limit []byte) (key, value []byte, err error) {
	return o.entry(query{ask: askLower, key: limit})
}

// Ceil returns the entry of the least key that is not less than limit, or ErrNotFound.
func (o *OrderedView) Ceil(limit []byte) (key, value []byte, err error) {
	return o.entry(query{ask: askCeil, key: limit})
}

// Higher returns the entry of the least key that is greater than limit, or ErrNotFound.
func (o *OrderedView) Higher(limit []byte) (key, value []byte, err error) {
	return o.entry(query{ask: askHigher, key: limit})
}

// At returns the entry that has i entries before it, or ErrNotFound.
func (o *OrderedView) At(i int) (key, value []byte, err error) {
	return o.entry(query{ask: askAt, at: i})
}

// entry returns the entry that a query asks for.
func (o *OrderedView) entry(q query) (key, value []byte, err error) {
	err = o.read(func(v view) (err error) {
		key, value, err = v.leafOf(v.seek(q))
		return err
	})
	return key, value, err
}

// Rank returns how many keys of the map are less than key, and whether key is one of its
// keys.
func (o *OrderedView) Rank(key []byte) (i int, found bool, err error) {
	err = o.read(func(v view) (err error) {
		i, found, err = v.rank(key)
		return err
	})
	return i, found, err
}

// Count returns the number of keys that are not less than from and less than to. nil is an
// open end.
func (o *OrderedView) Count(from, to []byte) (n int, err error) {
	err = o.read(func(v view) (err error) {
		n, err = v.countIn(from, to)
		return err
	})
	return n, err
}

// All iterates over all entries, in ascending order. It ends early as [Snapshot.All] does.
func (o *OrderedView) All() iter.Seq2[[]byte, []byte] { return o.scan(scan{}) }

// Range iterates, in ascending order, over the entries whose keys are not less than from
// and less than to. nil is an open end. It ends early as [Snapshot.All] does. Finding the
// ends takes the time of two lookups.
func (o *OrderedView) Range(from, to []byte) iter.Seq2[[]byte, []byte] {
	return o.scan(scan{from: from, to: to})
}

// Backward is Range in descending order.
func (o *OrderedView) Backward(from, to []byte) iter.Seq2[[]byte, []byte] {
	return o.scan(scan{from: from, to: to, backward: true})
}

// Prefix iterates, in ascending order, over the entries whose keys begin with p, as Range.
func (o *OrderedView) Prefix(p []byte) iter.Seq2[[]byte, []byte] { return o.scan(prefixed(p)) }

// Diff iterates over the keys whose values differ between older and o, in ascending order.
// Otherwise it is as [Snapshot.Diff].
func (o *OrderedView) Diff(older *OrderedView) iter.Seq2[[]byte, Change] {
	return o.diff(&older.mapView)
}
