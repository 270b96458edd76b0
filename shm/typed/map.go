// Package typed gives the maps of a store Go types: a Map has keys of type K and values of type
// V, and an Ordered has them in the order of their bytes. Package codec has the codecs.
//
//	sessions := typed.New(store.Map("sessions"), codec.String[string]{}, codec.JSON[Session]{})
//	err := sessions.Update("alice", func(s *Session) error { s.Visits++; return nil })
//
// In joins a map to a transaction, and Entries turns a loop over it into one over Go values.
// The errors of codecs name the key and the type, and those of bytes that are not of the
// type match codec.ErrDecode. Values share no memory with the store, and the zero V comes with
// each error.
package typed

import (
	"fmt"
	"iter"

	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/codec"
	"github.com/seed-869cc763/shmkv/shm/internal/pair"
)

// A Table is what a Map needs of *shm.Map, *shm.Ordered, or *shm.Store, whose table is the
// unnamed map.
type Table interface {
	Append(dst, key []byte) ([]byte, error)
	GetMany(keys [][]byte, fn func(i int, value []byte, ok bool)) error
	Has(key []byte) (bool, error)
	Set(key, value []byte) error
	Delete(key []byte) (existed bool, err error)
	Compute(key []byte, fn func(old []byte, exists bool) ([]byte, shm.Action, error)) error
	Len() int
}

// A Map is a map of a store as a map of Go values. It costs nothing, and its methods may be
// called by many goroutines at once.
type Map[K comparable, V any] struct {
	table Table
	pair  pair.Pair[K, V]
}

// New returns a view of a map with these codecs, from which K and V follow.
func New[K comparable, V any](table Table, keys codec.Codec[K], values codec.Codec[V]) *Map[K, V] {
	return &Map[K, V]{table, pair.Pair[K, V]{Keys: keys, Values: values}}
}

// fail wraps the error of a codec.
func fail(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("typed: %w", err)
}

// keyOf returns a buffer with the bytes of key.
func keyOf[K comparable, V any](p pair.Pair[K, V], key K) (*pair.Buffer, error) {
	b := pair.Borrow()
	var err error
	if b.Key, err = p.AppendKey(b.Key, key); err != nil {
		b.Return()
		return nil, fail(err)
	}
	return b, nil
}

// Get returns the value of key, or shm.ErrNotFound. Beside what the codecs allocate it
// allocates nothing.
func (m *Map[K, V]) Get(key K) (value V, err error) {
	b, err := keyOf(m.pair, key)
	if err != nil {
		return value, err
	}
	defer b.Return()
	if b.Value, err = m.table.Append(b.Value, b.Key); err != nil {
		return value, err
	}
	value, err = m.pair.DecodeValue(key, b.Value)
	return value, fail(err)
}

// GetMany returns the values of those of keys that the map has, in one version. If some
// cannot be decoded, it returns the others, and the error of one of them.
func (m *Map[K, V]) GetMany(keys []K) (map[K]V, error) {
	raw := make([][]byte, len(keys))
	for i, key := range keys {
		var err error
		if raw[i], err = m.pair.AppendKey(nil, key); err != nil {
			return nil, fail(err)
		}
	}
	found := make(map[K]V, len(keys))
	var failed error
	err := m.table.GetMany(raw, func(i int, data []byte, ok bool) {
		if !ok {
			return
		}
		if value, err := m.pair.DecodeValue(keys[i], data); err != nil {
			failed = fail(err)
		} else {
			found[keys[i]] = value
		}
	})
	if err != nil {
		return nil, err
	}
	return found, failed
}

// Has reports whether the map has key.
func (m *Map[K, V]) Has(key K) (bool, error) {
	b, err := keyOf(m.pair, key)
	if err != nil {
		return false, err
	}
	defer b.Return()
	return m.table.Has(b.Key)
}

// Set makes value the value of key.
func (m *Map[K, V]) Set(key K, value V) error {
	b, err := keyOf(m.pair, key)
	if err != nil {
		return err
	}
	defer b.Return()
	if b.Value, err = m.pair.AppendValue(b.Value, key, value); err != nil {
		return fail(err)
	}
	return m.table.Set(b.Key, b.Value)
}

// Delete removes key, and reports whether it was there.
func (m *Map[K, V]) Delete(key K) (existed bool, err error) {
	b, err := keyOf(m.pair, key)
	if err != nil {
		return false, err
	}
	defer b.Return()
	return m.table.Delete(b.Key)
}

// Update lets fn change the value of key, in one step that no other process comes between. A
// value that is not there is the zero V. If fn returns an error nothing is written, and Update
// returns the error. fn is called again, with the value that there is then, if another write
// came first.
func (m *Map[K, V]) Update(key K, fn func(value *V) error) error {
	b, err := keyOf(m.pair, key)
	if err != nil {
		return err
	}
	defer b.Return()
	return m.table.Compute(b.Key, func(old []byte, exists bool) ([]byte, shm.Action, error) {
		var value V // here, so that a second call does not see the changes of the first one
		var err error
		if exists {
			if value, err = m.pair.DecodeValue(key, old); err != nil {
				return nil, shm.ActionKeep, fail(err)
			}
		}
		if err = fn(&value); err != nil {
			return nil, shm.ActionKeep, err
		}
		if b.Value, err = m.pair.AppendValue(b.Value[:0], key, value); err != nil {
			return nil, shm.ActionKeep, fail(err)
		}
		return b.Value, shm.ActionSet, nil
	})
}

// Len returns the number of entries, as Len of the map does.
func (m *Map[K, V]) Len() int { return m.table.Len() }

// An Entry is a key with its value.
type Entry[K comparable, V any] struct {
	Key   K
	Value V
}

// Entries iterates over the Go values of a loop over the map, in a snapshot or a transaction:
//
//	for e, err := range sessions.Entries(snapshot.Map("sessions").All()) { ... }
//
// An entry that cannot be decoded comes with an error, and the loop goes on. A loop over
// bytes that ends early has its error in Err of the snapshot or the transaction.
func (m *Map[K, V]) Entries(all iter.Seq2[[]byte, []byte]) iter.Seq2[Entry[K, V], error] {
	return func(yield func(Entry[K, V], error) bool) {
		for k, v := range all {
			e, err := entry(m.pair, k, v)
			if !yield(e, err) {
				return
			}
		}
	}
}

func entry[K comparable, V any](p pair.Pair[K, V], key, value []byte) (e Entry[K, V], err error) {
	if e.Key, err = p.DecodeKey(key); err == nil {
		e.Value, err = p.DecodeValue(e.Key, value)
	}
	return e, fail(err)
}
