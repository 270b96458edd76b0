package typed

import (
	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/internal/pair"
)

// A View is what At needs of *shm.MapView, *shm.OrderedView or *shm.Snapshot, and In of
// *shm.TxMap, *shm.TxOrdered or *shm.Tx.
type View interface {
	Get(key []byte) ([]byte, error)
	Has(key []byte) (bool, error)
	Len() int
}

// A TxTable is a View that can be written to.
type TxTable interface {
	View
	Set(key, value []byte) error
	Delete(key []byte) (existed bool, err error)
}

// A MapView is a Map in a snapshot.
type MapView[K comparable, V any] struct {
	view View
	pair pair.Pair[K, V]
}

// At returns the map as a snapshot has it: sessions.At(snapshot.Map("sessions")).
func (m *Map[K, V]) At(view View) MapView[K, V] { return MapView[K, V]{view, m.pair} }

// Get returns the value of key, or shm.ErrNotFound.
func (m MapView[K, V]) Get(key K) (value V, err error) {
	b, err := keyOf(m.pair, key)
	if err != nil {
		return value, err
	}
	defer b.Return()
	data, err := m.view.Get(b.Key)
	if err != nil {
		return value, err
	}
	value, err = m.pair.DecodeValue(key, data)
	return value, fail(err)
}

// Has reports whether the map has key.
func (m MapView[K, V]) Has(key K) (bool, error) {
	b, err := keyOf(m.pair, key)
	if err != nil {
		return false, err
	}
	defer b.Return()
	return m.view.Has(b.Key)
}

// Len returns the number of entries.
func (m MapView[K, V]) Len() int { return m.view.Len() }

// A TxMap is a Map in a transaction. It is used in the transaction's function only, and reads
// what the transaction has written.
type TxMap[K comparable, V any] struct {
	MapView[K, V]
	table TxTable
}

// In returns the map in a transaction: sessions.In(tx.Map("sessions")).
func (m *Map[K, V]) In(table TxTable) TxMap[K, V] { return TxMap[K, V]{m.At(table), table} }

// Set makes value the value of key.
func (m TxMap[K, V]) Set(key K, value V) error {
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
func (m TxMap[K, V]) Delete(key K) (existed bool, err error) {
	b, err := keyOf(m.pair, key)
	if err != nil {
		return false, err
	}
	defer b.Return()
	return m.table.Delete(b.Key)
}

// Update lets fn change the value of key. A value that is not there is the zero V. If fn
// returns an error, Update returns it and has written nothing.
func (m TxMap[K, V]) Update(key K, fn func(value *V) error) error {
	value, err := m.Get(key)
	if err != nil && err != shm.ErrNotFound {
		return err
	}
	if err := fn(&value); err != nil {
		return err
	}
	return m.Set(key, value)
}
