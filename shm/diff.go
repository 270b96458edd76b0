package shm

import (
	"cmp"
	"fmt"
	"iter"

	"github.com/seed-869cc763/shmkv/btree"
	"github.com/seed-869cc763/shmkv/hamt"
	"github.com/seed-869cc763/shmkv/node"
)

// Change is what happened to a key between two snapshots; nil means absent.
// The slices belong to the snapshots.
type Change struct{ Old, New []byte }

// Diff iterates over the keys whose values differ between older and sn, in no
// order, in the unnamed map. It takes time in proportion to what changed. The loop ends
// early if the store is damaged, if one of the snapshots is closed, or at once with
// ErrUnrelated if the snapshots are of two stores: sn.Err tells.
func (sn *Snapshot) Diff(older *Snapshot) iter.Seq2[[]byte, Change] { return sn.diff(&older.mapView) }

// diff iterates over what differs between two views of maps of one kind.
func (m *mapView) diff(older *mapView) iter.Seq2[[]byte, Change] {
	return func(yield func(key []byte, c Change) bool) {
		m.loop(func() error {
			return older.sn.hold(func() error { return cmp.Or(older.check(), m.changes(older, yield)) })
		})
	}
}

// changes is the loop of diff, over two snapshots that are held.
func (m *mapView) changes(older *mapView, yield func(key []byte, c Change) bool) error {
	sn, past := m.sn, older.sn
	r := sn.widest(past)
	var closed error
	err := m.visitChanges(older, func(old, new node.Leaf) bool {
		if closed = cmp.Or(sn.check(), past.check()); closed != nil {
			return false
		}
		var c Change
		var key []byte
		if old != (node.Leaf{}) {
			key, c.Old = r.Key(old), r.Value(old)
		}
		if new != (node.Leaf{}) {
			key, c.New = r.Key(new), r.Value(new)
		}
		return yield(key, c)
	})
	if err != nil {
		return sn.fail(m.to.op("comparing two snapshots of"), err)
	}
	return closed
}

// visitChanges visits what differs between two views of maps of one kind. It returns
// ErrUnrelated if they are of two stores.
func (m *mapView) visitChanges(older *mapView, visit func(old, new node.Leaf) bool) error {
	if !m.sn.s.a.Same(older.sn.s.a) {
		return fmt.Errorf("%w: found a snapshot of %s, expected one of the same store", ErrUnrelated, older.sn.s.path)
	}
	r := m.sn.widest(older.sn)
	if m.to.ordered() {
		return btree.Reader{Reader: r.Reader}.Diff(older.top, m.top, visit)
	}
	return r.Diff(older.top, m.top, m.sn.s.hash, visit)
}

// widest reads all that either of two snapshots sees. If their handles differ, the
// handle of the older one may not know yet how far the store has grown.
func (sn *Snapshot) widest(other *Snapshot) hamt.Reader {
	if other.pin.Version > sn.pin.Version {
		return other.s.reader()
	}
	return sn.s.reader()
}

// ChangedMaps iterates over the named maps that differ between older and sn, in no
// order: those that only one of the two has, those of another kind, and those with
// entries that differ. The info is that of sn, or of older if only that has the map. It
// takes time in proportion to what changed, and ends early as Diff does.
func (sn *Snapshot) ChangedMaps(older *Snapshot) iter.Seq[MapInfo] {
	return func(yield func(MapInfo) bool) {
		sn.loop(func() error {
			return older.hold(func() error {
				if err := sn.changedMaps(older, yield); err != nil {
					return sn.fail("comparing two snapshots of", err)
				}
				return cmp.Or(sn.check(), older.check())
			})
		})
	}
}

// changedMaps is the loop of ChangedMaps, over two snapshots that are held.
func (sn *Snapshot) changedMaps(older *Snapshot, yield func(MapInfo) bool) error {
	now, past := mapView{sn: sn}, mapView{sn: older}
	now.top, past.top = sn.root().directory, older.root().directory
	r := sn.widest(older)
	var failed error
	err := now.visitChanges(&past, func(old, new node.Leaf) bool {
		var c mapChange
		if c, failed = readChange(r, old, new); failed != nil {
			return false
		}
		var differs bool
		differs, failed = c.differs(sn, older)
		return failed == nil && (!differs || yield(c.MapInfo))
	})
	return cmp.Or(failed, err)
}

// A mapChange is the record of a map that differs between two snapshots.
type mapChange struct {
	MapInfo            // that of the newer one, if it has the map
	old, new mapRecord // of no kind: the snapshot does not have the map
}

func readChange(r hamt.Reader, old, new node.Leaf) (c mapChange, err error) {
	shown, record := old, &c.old
	if old != (node.Leaf{}) {
		c.old, err = readRecord(r.Reader, old)
	}
	if new != (node.Leaf{}) && err == nil {
		c.new, err = readRecord(r.Reader, new)
		shown, record = new, &c.new
	}
	if err == nil {
		c.MapInfo = record.info(r.Key(shown))
	}
	return c, err
}

// differs reports whether the map differs in kind or content, or whether only blocks of
// it were moved.
func (c *mapChange) differs(sn, older *Snapshot) (differs bool, err error) {
	if c.old.kind != c.new.kind {
		return true, nil
	}
	to := &target{kind: c.new.kind}
	now, past := sn.viewIn(to, c.new.Tree), older.viewIn(to, c.old.Tree)
	err = now.visitChanges(&past, func(_, _ node.Leaf) bool {
		differs = true
		return false
	})
	return differs, err
}
