package shm

import (
	"cmp"
	"errors"
	"iter"
	"slices"

	"github.com/seed-869cc763/shmkv/hamt"
	"github.com/seed-869cc763/shmkv/node"
)

// A Map is a named hash map of a store. Its calls are those of the Store on its unnamed
// map, and may be used by many goroutines at once. A Map costs nothing: it need not be
// closed, and works as long as its Store.
//
// The map is there from its first entry on, also without entries, until [Store.DropMap]
// drops it. Until then, reads find nothing. A call on the name of an ordered map returns
// ErrKind, and one on a name of more than MaxName bytes ErrTooLarge.
type Map struct {
	keyed
	target target
}

// Map returns the named hash map of this name. All bytes are permitted in a name, and the
// empty name is one too: it is not that of the unnamed map.
func (s *Store) Map(name string) *Map {
	m := &Map{target: s.target(name, KindHash)}
	m.s, m.a, m.to = s, s.a, &m.target
	return m
}

// After returns the position behind that of key, which need not be in the map: see
// [TxMap.AllFrom]. It is 0 behind the last position.
func (m *Map) After(key []byte) uint64 { return hamt.Position(m.s.hashOf(key)) + 1 }

// MapInfo is what a store knows of a named map.
type MapInfo struct {
	Name      string `json:"name"`
	Kind      Kind   `json:"kind"`
	Entries   int64  `json:"entries"`
	DataBytes int64  `json:"data_bytes"` // of keys and values
}

func (m mapRecord) info(name []byte) MapInfo {
	return MapInfo{string(name), m.kind, m.Entries, m.DataBytes}
}

// Maps returns the named maps of the current version, by their names. It takes memory and
// time in proportion to their number.
func (s *Store) Maps() (maps []MapInfo, err error) {
	err = s.View(func(sn *Snapshot) (err error) {
		maps, err = sn.Maps()
		return err
	})
	return maps, err
}

// Maps returns the named maps of the snapshot, by their names.
func (sn *Snapshot) Maps() (maps []MapInfo, err error) {
	err = sn.eachMap(func(name []byte, record mapRecord) error {
		maps = append(maps, record.info(name))
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(maps, func(a, b MapInfo) int { return cmp.Compare(a.Name, b.Name) })
	return maps, nil
}

// eachMap calls visit for each named map of the snapshot, in no order.
func (sn *Snapshot) eachMap(visit func(name []byte, record mapRecord) error) error {
	return sn.hold(func() error {
		err := eachRecord(sn.s.reader(), sn.root().directory, func(name []byte, record mapRecord) error {
			return cmp.Or(sn.check(), visit(name, record))
		})
		if err != nil && sn.check() == nil {
			err = sn.fail("reading a snapshot of", err)
		}
		return err
	})
}

// eachRecord calls visit for each record in a trie of records, which must hold still.
func eachRecord(r hamt.Reader, trie node.Ref, visit func(key []byte, record mapRecord) error) error {
	var failed error
	err := r.Walk(trie, func(l node.Leaf) bool {
		record, err := readRecord(r.Reader, l)
		if failed = err; err == nil {
			failed = visit(r.Key(l), record)
		}
		return failed == nil
	})
	return cmp.Or(err, failed)
}

// A MapView is a named hash map as a Snapshot sees it. Its calls are those of the Snapshot
// on the unnamed map. A map that is not there has no entries. Calls on the name of an
// ordered map return ErrKind; a loop over one ends at once, and Err of the Snapshot tells.
type MapView struct {
	mapView
	target target
}

// Map returns the snapshot's named hash map of this name.
func (sn *Snapshot) Map(name string) *MapView {
	m := &MapView{target: sn.s.target(name, KindHash)}
	m.mapView = sn.of(&m.target)
	return m
}

// AllFrom is All from a position on: see [TxMap.AllFrom].
func (m *MapView) AllFrom(pos uint64) iter.Seq2[[]byte, []byte] { return m.scan(scan{pos: pos}) }

// Diff iterates over the keys whose values differ between older and m, as
// [Snapshot.Diff] does.
func (m *MapView) Diff(older *MapView) iter.Seq2[[]byte, Change] { return m.diff(&older.mapView) }

// A TxMap is a named hash map in a transaction. Its calls are those of the Tx on the
// unnamed map. It is used in the transaction's function only.
type TxMap struct {
	txKeyed
	target target
}

// Map returns the transaction's named hash map of this name.
func (tx *Tx) Map(name string) *TxMap {
	m := &TxMap{target: tx.w.s.target(name, KindHash)}
	m.txKeyed = txKeyed{tx: tx, to: &m.target}
	return m
}

// AllFrom is All from a position on, in the order of positions. To begin at a random number
// gives random entries: those that share a branch with others are about as likely as those
// that do not. [Map.After] returns where to go on after an entry. The first entries may lie
// before pos: at most one, unless hashes collide.
func (m *TxMap) AllFrom(pos uint64) iter.Seq2[[]byte, []byte] { return m.scan(scan{pos: pos}) }

// Drop drops the map, as [Store.DropMap] does, and reports whether it was there. The
// transaction must not have used the map before, and must not use it afterwards.
func (m *TxMap) Drop() (existed bool, err error) {
	switch {
	case m.tx.done:
		return false, errTxDone
	case m.tx.w.tables.find(m.to.name) != nil:
		return false, m.fail("dropping", errors.New("found that the transaction has used it, expected that it has not"))
	}
	m.tx.deletes = true
	m.tx.w.slot.AllowReserve(!m.tx.sets)
	if existed, err = m.tx.drop(m.to); err != nil {
		return false, m.fail("dropping", err)
	}
	return existed, nil
}

// Create makes the map be there, even without entries.
func (m *TxMap) Create() error { return m.create() }
