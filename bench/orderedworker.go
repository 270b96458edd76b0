package main

import (
	"encoding/binary"
	"errors"
)

// An orderedTable keeps its entries in the order of their keys. Entries that its methods return are copies, in dst if
// the table can do that.
type orderedTable interface {
	table
	// ascend visits at most n entries of one version in ascending order, from the first key that is not less than
	// from.
	ascend(from []byte, n int, each func(key, value []byte) error) error
	// near returns the entry whose key has a relation to limit, or errAbsent.
	near(rel relation, dst, limit []byte) (key, value []byte, err error)
}

// A relation is that of a wanted key to a given one.
type relation int

const (
	minimum relation = iota // the least of all keys
	higher                  // the least key greater than the given one
	floor                   // the greatest key not greater
)

// An indexer finds the entry that has i entries before it.
type indexer interface {
	at(i int, dst []byte) (key, value []byte, err error)
}

// A ranker counts the keys less than a key.
type ranker interface {
	rank(key []byte) (int, error)
}

// orderedOperation returns the operation of a work that needs the order of the keys.
func (w *worker) orderedOperation() (opsPerCall int, op func(i uint64) error, err error) {
	switch w.work {
	case "at":
		t, err := as[indexer](w.table)
		return 1, func(i uint64) error { return w.at(t, i) }, err
	case "rank":
		t, err := as[ranker](w.table)
		return 1, func(i uint64) error { return w.rank(t, i) }, err
	}
	t, err := as[orderedTable](w.table)
	near := func(rel relation) func(i uint64) error {
		return func(i uint64) error { return w.near(t, rel, i) }
	}
	switch w.work {
	case "range":
		return 1, func(i uint64) error { return w.visitFrom(t, i) }, err
	case "scan-ordered":
		return w.n, func(uint64) error { return t.ascend(nil, w.n, w.visit) }, err
	case "min":
		return 1, near(minimum), err
	case "higher":
		return 1, near(higher), err
	case "floor":
		return 1, near(floor), err
	}
	return 0, nil, errors.New("no such work")
}

// visitFrom visits as many entries as the task has in a batch, from a random key on.
func (w *worker) visitFrom(t orderedTable, i uint64) error {
	putKey(w.key[:], w.keys.draw(i))
	return t.ascend(w.key[:], w.batch, w.visit)
}

// visit reads a word of each cache line of a value, and the last word.
func (w *worker) visit(key, value []byte) error {
	i := indexOf(key)
	w.keys.sum += i
	if err := checkValue(value, i, w.task.value); err != nil {
		return err
	}
	last := len(value) - 8
	for at := cacheLine; at < last; at += cacheLine {
		w.words += binary.LittleEndian.Uint64(value[at:])
	}
	w.words += binary.LittleEndian.Uint64(value[last:])
	return nil
}

func (w *worker) near(t orderedTable, rel relation, i uint64) error {
	k := w.keys.draw(i)
	if rel == floor {
		k += uint64(w.n) // a key that does not exist
	}
	putKey(w.key[:], k)
	key, value, err := t.near(rel, w.found[:0], w.key[:])
	return w.takeFound(key, value, err)
}

func (w *worker) at(t indexer, i uint64) error {
	key, value, err := t.at(int(w.keys.draw(i)), w.found[:0])
	if err != nil {
		return err
	}
	return w.takeFound(key, value, nil)
}

// takeFound checks an entry that was looked up by its place. No key is higher than the greatest.
func (w *worker) takeFound(key, value []byte, err error) error {
	if err != nil {
		if err == errAbsent {
			return nil
		}
		return err
	}
	i := indexOf(key)
	w.keys.sum += i
	return checkValue(value, i, w.task.value)
}

func (w *worker) rank(t ranker, i uint64) error {
	putKey(w.key[:], w.keys.draw(i))
	rank, err := t.rank(w.key[:])
	w.keys.sum += uint64(rank)
	return err
}

// copyEntry appends an entry to dst and returns the copies of its key and value.
func copyEntry(dst, key, value []byte) ([]byte, []byte) {
	dst = append(append(dst, key...), value...)
	n := len(key)
	return dst[:n:n], dst[n:]
}
