package shm

import (
	"iter"
	"math"

	"github.com/seed-869cc763/shmkv/btree"
	"github.com/seed-869cc763/shmkv/node"
)

// mapView is the calls on one map of a Snapshot. A Snapshot has those of the unnamed map.
type mapView struct {
	sn    *Snapshot
	to    *target
	top   node.Ref   // the root of its tree; nil, if the snapshot does not have the map
	named *namedView // nil: the view of the unnamed map, and of the directory
}

// namedView is what only the view of a named map has.
type namedView struct {
	totals
	err error // the map cannot be read
}

// viewIn returns the view of a named map.
func (sn *Snapshot) viewIn(to *target, tree node.Tree) mapView {
	return mapView{sn, to, tree.Root, &namedView{totals: totals{tree.Entries, tree.DataBytes}}}
}

// of returns the view of a map. The snapshot must be open.
func (sn *Snapshot) of(to *target) mapView {
	if to == nil {
		return sn.mapView
	}
	if err := sn.check(); err != nil {
		return mapView{sn, to, 0, &namedView{err: err}}
	}
	v, err := to.viewAt(sn.s.a.Mem(), sn.s.a.Known(), sn.pin.Off)
	if err := sn.check(); err != nil {
		return mapView{sn, to, 0, &namedView{err: err}}
	}
	m := sn.viewIn(to, v.tree)
	if err != nil {
		m.named.err = m.fail(err)
	}
	return m
}

// fail wraps an error with the map and the store.
func (m *mapView) fail(err error) error {
	return m.sn.fail(m.to.op("reading a snapshot of"), err)
}

// view returns what can be looked up in.
func (m *mapView) view() view {
	v := view{m.sn.s.reader(), node.Tree{Root: m.top}, m.to.ordered()}
	if m.named != nil {
		v.tree.Entries, v.tree.DataBytes = m.named.entries, m.named.dataBytes
	}
	return v
}

// Get returns the value of key, not copied, or ErrNotFound.
func (m *mapView) Get(key []byte) ([]byte, error) {
	value, _, err := m.find(key)
	return value, err
}

// GetVersion returns the value of key, not copied, and the version of the commit that
// last wrote the entry, as [Store.GetVersion] does.
func (m *mapView) GetVersion(key []byte) (value []byte, version uint64, err error) {
	return m.find(key)
}

// Has reports whether key is in the snapshot.
func (m *mapView) Has(key []byte) (bool, error) {
	_, _, err := m.find(key)
	return found(err)
}

// find looks up key. It reads nothing of a snapshot that is closed, and does not believe
// what it has found if the snapshot was closed in between.
func (m *mapView) find(key []byte) (value []byte, birth uint64, err error) {
	if err := m.check(); err != nil {
		return nil, 0, err
	}
	r, h := m.sn.s.reader(), m.sn.s.hashIn(m.to, key)
	var l node.Leaf
	var status node.Status
	if m.to.ordered() {
		l, status = btree.Reader{Reader: r.Reader}.Find(m.top, key)
	} else {
		l, status = r.Find(m.top, h, key)
	}
	if err := m.check(); err != nil {
		return nil, 0, err
	}
	if status == node.Present {
		return r.Value(l), r.Birth(l), nil
	}
	v := m.view()
	if err = v.outcome(status, h, key); err != ErrNotFound {
		err = m.fail(err)
	}
	return nil, 0, err
}

// check returns an error if the snapshot is closed, or the map cannot be read.
func (m *mapView) check() error {
	if err := m.sn.check(); err != nil || m.named == nil {
		return err
	}
	return m.named.err
}

// read calls read, as find looks up a key. Its error may be ErrNotFound.
func (m *mapView) read(read func(v view) error) error {
	if err := m.check(); err != nil {
		return err
	}
	err := read(m.view())
	if err := m.check(); err != nil {
		return err
	}
	if err != nil && err != ErrNotFound {
		err = m.fail(err)
	}
	return err
}

// Len returns the number of entries. It is 0 after Close, and for a map of another kind.
func (m *mapView) Len() int { return int(min(m.size().Entries, math.MaxInt)) }

// Bytes returns the number of bytes of all keys and values, as Len the number of
// entries. The store takes more memory than that: see Stats.
func (m *mapView) Bytes() int64 { return m.size().DataBytes }

// size returns the totals of the map.
func (m *mapView) size() node.Tree {
	if m.check() != nil {
		return node.Tree{}
	}
	if m.named != nil {
		return m.view().tree
	}
	root := m.sn.root()
	if m.check() != nil {
		return node.Tree{}
	}
	return root.unnamed
}

// All iterates over all entries, of a hash map in no order. The loop ends early if the
// store is damaged, if the map is of another kind, or if the snapshot is closed: the
// snapshot's Err tells.
func (m *mapView) All() iter.Seq2[[]byte, []byte] {
	return m.scan(scan{})
}

// scan iterates over the entries of a scan.
func (m *mapView) scan(s scan) iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) { m.each(s, yield) }
}

// each calls yield for the entries of a scan. It is no part of the iterator, so that
// callers do not inline it.
func (m *mapView) each(s scan, yield func(key, value []byte) bool) {
	m.loop(func() error {
		var closed error
		v := m.view()
		err := v.walk(s, func(l node.Leaf) bool {
			if closed = m.sn.check(); closed != nil {
				return false
			}
			return yield(v.r.Key(l), v.r.Value(l))
		})
		if err != nil {
			return m.fail(err)
		}
		return closed
	})
}

// loop runs a loop over the map, and keeps its error in the snapshot.
func (m *mapView) loop(fn func() error) {
	m.sn.loop(func() error {
		if m.named != nil && m.named.err != nil {
			return m.named.err
		}
		return fn()
	})
}
