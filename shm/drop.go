package shm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/node"
)

// Dropping a map moves its record from the directory to the trie of dropped maps, in one
// commit. So nobody finds the map any more, and nothing of it is lost: the root still
// reaches its tree, and the ledger counts it as live.
//
// From then on each commit by any writer is followed by one that deletes up to dropStep
// entries of a dropped map, as long as there is one. So a large map costs no writer a long
// stop, and a process that dies in between leaves a smaller map for the others. When its
// last entry is gone, its record goes as well. The keeper goes on when nobody writes. A
// write that finds no space does it for a while before it tries again, and Compact to the
// end.
//
// Such a commit that is overtaken is given up. The next one of the handle deletes half as
// many entries, so beside many writers it is soon as fast as theirs.
//
// Rules:
//
//	M7  The commit that deletes a record from the directory puts it into the trie of dropped
//	    maps. Its key there begins with the version, so that no two drops have one key.
//	M8  A commit that deletes entries of a dropped map changes its record to show that, and
//	    deletes the record only with the last entry. If the trie does not find the record,
//	    the store is damaged, and nothing is deleted.
//	M9  As long as there are dropped maps, each commit, each write that finds no space, and
//	    Compact take them apart.

const (
	// dropStep is how many entries of dropped maps one commit deletes at most.
	dropStep = 8
	// dropTime is for how long the keeper deletes such entries in one go.
	dropTime = 10 * time.Millisecond
	// roomTime is for how long a write that finds no space does.
	roomTime = 100 * time.Millisecond
	// dropKey is the bytes before the name in the key of a dropped map's record: the
	// version that dropped it.
	dropKey = 8
)

// droppedName returns the name of a dropped map.
func droppedName(key []byte) []byte { return key[min(len(key), dropKey):] }

// DropMap drops the named map of this name, of either kind, and reports whether it was
// there. It takes one short commit. The space of the map comes back through the commits
// that follow, of all writers, a little with each, and in the background when nobody
// writes. Snapshots still see the map.
//
// After DropMap, the name is free for a new map of either kind.
func (s *Store) DropMap(name string) (existed bool, err error) {
	for tries := 0; ; tries++ {
		existed, err = s.dropMap(name)
		if err == nil {
			return existed, s.persist()
		}
		if !waitForSpace(err, tries) {
			return false, s.fail("dropping a map of", err)
		}
	}
}

func (s *Store) dropMap(name string) (dropped bool, err error) {
	w, err := s.writer(alloc.Brief | alloc.Frees)
	if err != nil {
		return false, err
	}
	dropped, err = w.dropMap(name)
	w.end(dropped)
	return dropped, err
}

// dropMap makes transactions that drop a map until one is committed, or the map is not
// there.
func (w *writer) dropMap(name string) (dropped bool, err error) {
	to := w.s.target(name, 0)
	w.slot.AllowReserve(true)
	for {
		err := w.begin()
		if err != nil {
			return false, w.abandon(err)
		}
		there, err := w.moveToDropped(&to)
		if err != nil || !there {
			return false, w.abandon(err)
		}
		if dropped, err = w.commit(1); err != nil {
			return false, w.abandon(err)
		}
		if dropped {
			return true, nil
		}
		w.slot.Abort(0)
	}
}

// moveToDropped makes the drop of a map part of a transaction, which has not used the map.
func (w *writer) moveToDropped(to *target) (there bool, err error) {
	r := w.trie.Reader()
	l, status := r.Find(w.root.directory, to.hash, to.name)
	switch status {
	case node.Absent:
		return false, to.check()
	case node.Damaged:
		return false, damage(r.Explain(w.root.directory, to.hash, to.name))
	}
	record, err := readRecord(r.Reader, l)
	if err != nil {
		return false, err
	}
	if err := w.deleteRecord(&w.root.directory, to.hash, to.name); err != nil {
		return false, err
	}
	w.root.named.entries -= record.Entries
	w.root.named.dataBytes -= record.DataBytes
	key := append(binary.BigEndian.AppendUint64(nil, w.at.Version+1), to.name...)
	_, err = w.setRecord(&w.root.dropped, w.s.hashOf(key), key, record)
	return true, err
}

// deleteRecord deletes a record of a trie of records. It returns ErrCorrupt if the trie does
// not find the record.
func (w *writer) deleteRecord(trie *node.Ref, h uint64, key []byte) error {
	_, existed, err := w.recordsOf(*trie).Delete(h, key)
	if err == nil && !existed {
		err = errMisplaced(*trie)
	}
	*trie = w.trie.Root
	return err
}

func errMisplaced(trie node.Ref) error {
	return node.Corrupt(trie.Off(), "trie of records", "each record where its key leads", "one elsewhere")
}

// A dropPace is how much of dropped maps a handle deletes in one commit. It is only a hint, so
// goroutines that overwrite each other's changes do no harm.
type dropPace struct{ lost atomic.Int32 } // commits that were overtaken, less those that were not

// step returns how many entries the next commit deletes.
func (p *dropPace) step() int { return max(dropStep>>p.lost.Load(), 1) }

// note notes whether a commit was overtaken.
func (p *dropPace) note(committed bool) {
	if lost := p.lost.Load(); !committed {
		p.lost.Store(min(lost+1, 10))
	} else if lost > 0 {
		p.lost.Store(lost - 1)
	}
}

// takeApart makes one commit that deletes some entries of dropped maps, if there are any
// and no other commit comes first. It is called between transactions.
func (w *writer) takeApart() error {
	committed := false
	defer func() {
		w.slot.End()
		if committed {
			w.s.a.Notify()
			w.slot.ReclaimIfDue()
		}
	}()
	w.slot.PassGate()
	err := w.begin()
	some := false
	if err == nil {
		w.slot.AllowReserve(true)
		some, err = w.shrinkDropped()
	}
	if err == nil && some {
		if committed, err = w.commit(0); err == nil {
			w.s.drops.note(committed)
		}
	}
	if !committed {
		w.slot.Abort(0)
	}
	return err
}

// takeApartFor takes dropped maps apart for a while, and reports whether there are more. It
// ends early with the error of goOn.
func (w *writer) takeApartFor(d time.Duration, goOn func() error) (more bool, err error) {
	for began := time.Now(); ; {
		root, _, ok := w.s.rootNow()
		if !ok || root.dropped == 0 {
			return false, nil
		}
		if time.Since(began) >= d {
			return true, nil
		}
		if err := goOn(); err != nil {
			return true, err
		}
		if err := w.takeApart(); err != nil {
			return false, err
		}
	}
}

// shrinkDropped makes the deletion of some entries of dropped maps part of a transaction.
// It reports false if there are none.
func (w *writer) shrinkDropped() (some bool, err error) {
	left := w.s.drops.step()
	for w.root.dropped != 0 && left > 0 {
		key, t, err := w.firstDropped()
		if err != nil {
			return false, err
		}
		n, err := w.shrink(t, left)
		if err != nil {
			return false, err
		}
		w.root.digest += t.now.Digest
		h := w.s.hashOf(key)
		if t.now.Root == 0 {
			err = w.deleteRecord(&w.root.dropped, h, key)
		} else {
			var did node.Effect
			if did, err = w.setRecord(&w.root.dropped, h, key, mapRecord{t.to.kind, t.now}); err == nil && did != node.Replaced {
				err = errMisplaced(w.root.dropped)
			}
		}
		if err != nil {
			return false, err
		}
		some = true
		left -= n + 1
	}
	return some, nil
}

// firstDropped returns the key and a table of the first dropped map.
func (w *writer) firstDropped() (key []byte, t *table, err error) {
	var failed error
	r := w.view(&table{}).r
	err = r.Walk(w.root.dropped, func(l node.Leaf) bool {
		var record mapRecord
		key = slices.Clone(r.Key(l))
		record, failed = readRecord(r.Reader, l)
		name := droppedName(key)
		t = &table{to: &target{name, w.s.hashOf(name), record.kind}, now: record.Tree}
		return false
	})
	if err == nil && failed == nil && t == nil {
		failed = node.Corrupt(w.root.dropped.Off(), "trie of dropped maps", "a record", "none")
	}
	return key, t, errors.Join(err, failed)
}

// shrink deletes up to n entries of a table, and returns how many.
func (w *writer) shrink(t *table, n int) (deleted int, err error) {
	var leaves []node.Leaf
	v := w.view(t)
	if err := v.walk(scan{}, func(l node.Leaf) bool {
		leaves = append(leaves, l)
		return len(leaves) < n
	}); err != nil {
		return 0, err
	}
	if len(leaves) == 0 && t.now.Root != 0 {
		return 0, node.Corrupt(t.now.Root.Off(), "tree of a dropped map", "entries", "none")
	}
	for _, l := range leaves {
		key := v.r.Key(l)
		existed, err := w.remove(t, w.s.hashIn(t.to, key), key)
		if err == nil && !existed {
			err = fmt.Errorf("%w: a dropped map does not find its key %.40q", ErrCorrupt, key)
		}
		if err != nil {
			return deleted, err
		}
		deleted++
	}
	return deleted, nil
}
