package main

import (
	"errors"
	"iter"

	"github.com/seed-869cc763/shmkv/shm"
)

// nameOfMap is the name of the only map in the store of a peer that uses a named map.
const nameOfMap = "bench"

// A namedTable is a named map of the store of this repository.
type namedTable struct {
	store *shm.Store
	m     namedMap
	of    func(sn *shm.Snapshot) namedView
	in    func(tx *shm.Tx) namedWriter
}

// The calls of a named map: of the newest version, of a snapshot, and in a transaction.
type (
	namedMap interface {
		Append(dst, key []byte) ([]byte, error)
		Set(key, value []byte) error
		Delete(key []byte) (existed bool, err error)
		GetMany(keys [][]byte, fn func(i int, value []byte, ok bool)) error
	}
	namedView interface {
		Get(key []byte) ([]byte, error)
		All() iter.Seq2[[]byte, []byte]
	}
	namedWriter interface {
		Set(key, value []byte) error
	}
)

// openMap opens the store and uses a named hash map.
func openMap(t task) (table, error) {
	s, err := openStore(t, shm.Options{})
	if err != nil {
		return nil, err
	}
	return namedTable{
		store: s, m: s.Map(nameOfMap),
		of: func(sn *shm.Snapshot) namedView { return sn.Map(nameOfMap) },
		in: func(tx *shm.Tx) namedWriter { return tx.Map(nameOfMap) },
	}, nil
}

func (m namedTable) read(dst, key []byte) ([]byte, error) {
	v, err := m.m.Append(dst, key)
	return v, shmError(err)
}

func (m namedTable) write(key, value []byte) error { return shmError(m.m.Set(key, value)) }

func (m namedTable) sync() error { return m.store.Sync() }

func (m namedTable) remove(key []byte) error {
	existed, err := m.m.Delete(key)
	if err == nil && !existed {
		err = errAbsent
	}
	return shmError(err)
}

func (m namedTable) readMany(keys [][]byte, each func(j int, value []byte) error) error {
	return readManyOf(m.m.GetMany, keys, each)
}

func (m namedTable) writeMany(n int, entry func(j int) (key, value []byte)) error {
	return shmError(m.store.Update(func(tx *shm.Tx) error {
		to := m.in(tx)
		for j := range n {
			if err := to.Set(entry(j)); err != nil {
				return err
			}
		}
		return nil
	}))
}

func (m namedTable) view() (find func(key []byte) ([]byte, error), end func() error, err error) {
	sn, err := m.store.Snapshot()
	if err != nil {
		return nil, nil, err
	}
	return m.of(sn).Get, sn.Close, nil
}

func (m namedTable) scan(each func(key, value []byte) error) error {
	return m.store.View(func(sn *shm.Snapshot) error {
		for key, value := range m.of(sn).All() {
			if err := each(key, value); err != nil {
				return err
			}
		}
		return sn.Err()
	})
}

func (m namedTable) close() error { return m.store.Close() }

// A shmOrdered is an ordered map of the store of this repository.
type shmOrdered struct {
	namedTable
	o *shm.Ordered
}

// openOrdered opens the store and uses an ordered map.
func openOrdered(t task) (table, error) {
	s, err := openStore(t, shm.Options{})
	if err != nil {
		return nil, err
	}
	o := s.Ordered(nameOfMap)
	return shmOrdered{namedTable{
		store: s, m: o,
		of: func(sn *shm.Snapshot) namedView { return sn.Ordered(nameOfMap) },
		in: func(tx *shm.Tx) namedWriter { return tx.Ordered(nameOfMap) },
	}, o}, nil
}

func (m shmOrdered) ascend(from []byte, n int, each func(key, value []byte) error) error {
	return m.store.View(func(sn *shm.Snapshot) error {
		visited := 0
		for key, value := range sn.Ordered(nameOfMap).Range(from, nil) {
			if err := each(key, value); err != nil {
				return err
			}
			if visited++; visited == n {
				break
			}
		}
		return sn.Err()
	})
}

// near returns an entry in new memory, as the store does.
func (m shmOrdered) near(rel relation, _, limit []byte) (key, value []byte, err error) {
	switch rel {
	case minimum:
		key, value, err = m.o.Min()
	case higher:
		key, value, err = m.o.Higher(limit)
	case floor:
		key, value, err = m.o.Floor(limit)
	default:
		err = errors.New("no such relation")
	}
	return key, value, shmError(err)
}

func (m shmOrdered) at(i int, _ []byte) (key, value []byte, err error) {
	key, value, err = m.o.At(i)
	return key, value, shmError(err)
}

func (m shmOrdered) rank(key []byte) (int, error) {
	i, _, err := m.o.Rank(key)
	return i, shmError(err)
}
