package main

import (
	"bytes"

	"github.com/tidwall/btree"
)

// A btreeTable is an ordered map of one process, which shares nothing with other processes, as the maps in maps.go. It
// has a lock for readers and writers, and counts the entries below its nodes.
type btreeTable struct{ tree *btree.BTreeG[btreeEntry] }

type btreeEntry struct {
	key   mapKey
	value []byte
}

func openBTree(task) (table, error) {
	less := func(a, b btreeEntry) bool { return bytes.Compare(a.key[:], b.key[:]) < 0 }
	return btreeTable{btree.NewBTreeG(less)}, nil
}

func (b btreeTable) load(key mapKey) ([]byte, bool) {
	e, ok := b.tree.Get(btreeEntry{key: key})
	return e.value, ok
}

func (b btreeTable) read(dst, key []byte) ([]byte, error) {
	value, ok := b.load(mapKey(key))
	return copyOut(dst, value, ok)
}

func (b btreeTable) write(key, value []byte) error {
	b.tree.Set(btreeEntry{mapKey(key), bytes.Clone(value)})
	return nil
}

func (b btreeTable) remove(key []byte) error {
	_, existed := b.tree.Delete(btreeEntry{key: mapKey(key)})
	return removed(existed)
}

func (b btreeTable) view() (func(key []byte) ([]byte, error), func() error, error) {
	return inPlace(b.load)
}

func (b btreeTable) scan(each func(key, value []byte) error) (err error) {
	b.tree.Scan(func(e btreeEntry) bool {
		err = each(e.key[:], e.value)
		return err == nil
	})
	return err
}

func (b btreeTable) ascend(from []byte, n int, each func(key, value []byte) error) (err error) {
	var pivot btreeEntry
	copy(pivot.key[:], from)
	b.tree.Ascend(pivot, func(e btreeEntry) bool {
		err = each(e.key[:], e.value)
		n--
		return err == nil && n > 0
	})
	return err
}

func (b btreeTable) near(rel relation, dst, limit []byte) (key, value []byte, err error) {
	var e btreeEntry
	found := false
	take := func(next btreeEntry) bool {
		e, found = next, true
		return false
	}
	switch rel {
	case minimum:
		e, found = b.tree.Min()
	case higher:
		at := btreeEntry{key: mapKey(limit)}
		b.tree.Ascend(at, func(next btreeEntry) bool { return next.key == at.key || take(next) })
	case floor:
		b.tree.Descend(btreeEntry{key: mapKey(limit)}, take)
	}
	return entryOf(dst, e, found)
}

func (b btreeTable) at(i int, dst []byte) (key, value []byte, err error) {
	e, found := b.tree.GetAt(i)
	return entryOf(dst, e, found)
}

// entryOf returns a copy of the entry that a lookup found.
func entryOf(dst []byte, e btreeEntry, found bool) (key, value []byte, err error) {
	if !found {
		return nil, nil, errAbsent
	}
	key, value = copyEntry(dst, e.key[:], e.value)
	return key, value, nil
}

func (b btreeTable) close() error { return nil }
