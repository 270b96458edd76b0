package typed

import (
	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/codec"
)

// An Ordered is a Map with the calls of an ordered map. The order is that of the bytes of
// keys. With codec.String and codec.Int that is the order of the strings or numbers.
type Ordered[K comparable, V any] struct {
	Map[K, V]
	ordered *shm.Ordered
}

// NewOrdered returns a view of an ordered map with these codecs, from which K and V follow.
func NewOrdered[K comparable, V any](o *shm.Ordered, keys codec.Codec[K], values codec.Codec[V]) *Ordered[K, V] {
	return &Ordered[K, V]{*New(o, keys, values), o}
}

// Min returns the entry of the least key, or shm.ErrNotFound.
func (o *Ordered[K, V]) Min() (Entry[K, V], error) { return o.entry(o.ordered.Min()) }

// Max returns the entry of the greatest key, or shm.ErrNotFound.
func (o *Ordered[K, V]) Max() (Entry[K, V], error) { return o.entry(o.ordered.Max()) }

// At returns the entry that has i entries before it, or shm.ErrNotFound.
func (o *Ordered[K, V]) At(i int) (Entry[K, V], error) { return o.entry(o.ordered.At(i)) }

// Floor returns the entry of the greatest key that is not greater than limit, or
// shm.ErrNotFound.
func (o *Ordered[K, V]) Floor(limit K) (Entry[K, V], error) { return o.seek(o.ordered.Floor, limit) }

// Lower returns the entry of the greatest key that is less than limit, or shm.ErrNotFound.
func (o *Ordered[K, V]) Lower(limit K) (Entry[K, V], error) { return o.seek(o.ordered.Lower, limit) }

// Ceil returns the entry of the least key that is not less than limit, or shm.ErrNotFound.
func (o *Ordered[K, V]) Ceil(limit K) (Entry[K, V], error) { return o.seek(o.ordered.Ceil, limit) }

// Higher returns the entry of the least key that is greater than limit, or shm.ErrNotFound.
func (o *Ordered[K, V]) Higher(limit K) (Entry[K, V], error) { return o.seek(o.ordered.Higher, limit) }

func (o *Ordered[K, V]) seek(ask func(limit []byte) (key, value []byte, err error), limit K) (Entry[K, V], error) {
	b, err := keyOf(o.pair, limit)
	if err != nil {
		return Entry[K, V]{}, err
	}
	defer b.Return()
	return o.entry(ask(b.Key))
}

func (o *Ordered[K, V]) entry(key, value []byte, err error) (Entry[K, V], error) {
	if err != nil {
		return Entry[K, V]{}, err
	}
	return entry(o.pair, key, value)
}

// Rank returns how many keys are less than key, and whether the map has key.
func (o *Ordered[K, V]) Rank(key K) (i int, found bool, err error) {
	b, err := keyOf(o.pair, key)
	if err != nil {
		return 0, false, err
	}
	defer b.Return()
	return o.ordered.Rank(b.Key)
}

// Count returns the number of keys that are not less than from and less than to.
func (o *Ordered[K, V]) Count(from, to K) (n int, err error) {
	return o.between(o.ordered.Count, from, to)
}

// DeleteRange deletes the entries whose keys are not less than from and less than to, in one
// commit, and returns their number.
func (o *Ordered[K, V]) DeleteRange(from, to K) (n int, err error) {
	return o.between(o.ordered.DeleteRange, from, to)
}

func (o *Ordered[K, V]) between(do func(from, to []byte) (int, error), from, to K) (int, error) {
	first, last, err := o.Bounds(from, to)
	if err != nil {
		return 0, err
	}
	return do(first, last)
}

// Bounds returns the bytes of two keys, for the loops of package shm:
//
//	for e, err := range scores.Entries(snapshot.Ordered("scores").Range(from, to)) { ... }
func (o *Ordered[K, V]) Bounds(from, to K) (first, last []byte, err error) {
	if first, err = o.pair.AppendKey([]byte{}, from); err == nil { // nil would be an open end
		last, err = o.pair.AppendKey([]byte{}, to)
	}
	return first, last, fail(err)
}
