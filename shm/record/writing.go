package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/seed-869cc763/shmkv/shm"
)

// errOvertaken is that of a transaction that another commit has overtaken before it could compare
// what was changed.
var errOvertaken = errors.New("overtaken")

// writing is a commit of a session in a transaction.
type writing struct {
	tables
	st     *Storage
	s      *Session
	values map[ID][]byte
	ids    []ID // of values, in order

	head      head
	balance   balance
	conflicts []ID
	garbage   bool // conflicts are of garbage, which no stamp tells of
	behind    bool // there are changes that the session was not told of
	created   map[ID]bool
	added     map[ID][]ID // references of a stored record that are new
	fresh     []ID        // stored records that are fresh
	removed   []ID        // collected by the same commit
}

func (w *writing) run() (err error) {
	if w.head, err = readHead(w.books); err != nil {
		return err
	}
	if err := w.compare(); err != nil {
		return err
	}
	w.balance = balance{tables: w.tables, by: map[ID]int{}}
	for _, id := range w.ids {
		if err := w.store(id); err != nil {
			return err
		}
	}
	if err := w.balance.settle(); err != nil {
		return err
	}
	if n := w.st.garbage.perCommit; n > 0 {
		if w.removed, err = w.collect(&w.head, n, w.values); err != nil {
			return err
		}
	}
	if err := w.refresh(); err != nil {
		return err
	}
	w.head.stamp++
	if len(w.removed) > 0 {
		w.head.lastGone = w.head.stamp
	}
	return w.setHead(w.head)
}

// compare finds conflicts with the commits since the session's position.
func (w *writing) compare() error {
	st, s := w.st, w.s
	if w.head.stamp != st.known.head.stamp {
		if err := st.look(); err != nil {
			return err
		}
		if w.head.stamp != st.known.head.stamp {
			return errOvertaken
		}
		if err := s.usable(); err != nil { // it may have been given up
			return err
		}
	}
	w.conflicts, w.behind = nil, false
	var used idSet // by what is stored, if it matters
	st.changes.since(s, func(id ID, collected bool) {
		w.behind = true
		if collected && used.n == 0 {
			used = w.uses()
		}
		if _, stored := w.values[id]; stored || !collected && s.held.has(id) || collected && used.has(id) {
			w.conflicts = append(w.conflicts, id)
		}
	})
	if len(w.conflicts) > 0 {
		return &ConflictError{w.conflicts}
	}
	return nil
}

// uses returns the ids that are stored, and those that they refer to, as far as they were given.
func (w *writing) uses() (used idSet) {
	for id, value := range w.values {
		used.add(id)
		if _, refs, err := split(value); err == nil { // as it is
			for _, ref := range parseRefs(refs) {
				if ref < w.head.next {
					used.add(ref)
				}
			}
		}
	}
	return used
}

// isView reports whether the commit has left what its session sees: the view from before it, with what it
// has stored. A session that was told of all changes needs no Sync then to be at the commit's stamp.
func (w *writing) isView() bool {
	return !w.behind && len(w.removed) == 0 && (w.head.phase != phaseSweep || w.s.position >= w.head.cut)
}

// conflict returns the error of a commit that uses a record that is garbage.
func (w *writing) conflict(id ID) error {
	w.conflicts, w.garbage = []ID{id}, true
	return &ConflictError{w.conflicts}
}

// isGarbage reports whether a record that is there is not, because a sweep has yet to delete it.
func (m tables) isGarbage(h head, id ID) (bool, error) {
	if h.phase != phaseSweep {
		return false, nil
	}
	seen, err := marked(m.books, id)
	return !seen, err
}

func (w *writing) store(id ID) error {
	value := w.values[id]
	_, refs, err := split(value)
	if err != nil {
		return err
	}
	old, err := w.records.Get(id.key())
	there := err == nil
	switch {
	case errors.Is(err, shm.ErrNotFound):
		err = nil
		if id != 0 && !w.s.given.has(id) {
			return fmt.Errorf("record: storing %d: %w", id, ErrNotGiven)
		}
		w.created[id] = true
		w.head.next = max(w.head.next, id+1)
	case err != nil:
		return err
	default:
		if gone, err := w.isGarbage(w.head, id); err != nil {
			return err
		} else if gone {
			return w.conflict(id)
		}
	}
	was := map[ID]bool{}
	if there {
		oldRefs, err := refsOf(id, old)
		if err != nil {
			return err
		}
		for _, ref := range oldRefs {
			if ref != id && !was[ref] {
				was[ref] = true
				w.balance.by[ref]--
			}
		}
	}
	is := map[ID]bool{}
	for _, ref := range parseRefs(refs) {
		if ref == id || is[ref] {
			continue
		}
		is[ref] = true
		w.balance.by[ref]++
		if !was[ref] {
			w.added[id] = append(w.added[id], ref)
			if err := w.refer(ref); err != nil {
				return err
			}
		}
	}
	switch w.head.phase {
	case phaseMark:
		err = w.gray(id)
	case phaseSweep:
		if !there {
			err = w.mark(id)
		}
	}
	if err != nil {
		return err
	}
	return w.records.Set(id.key(), value)
}

// refer is for a reference to ref that a commit adds.
func (w *writing) refer(ref ID) error {
	switch w.head.phase {
	case phaseMark:
		if ref >= w.head.next {
			return nil // it is no record, and whoever creates it makes it gray
		}
		return w.gray(ref)
	case phaseSweep:
		if _, stored := w.values[ref]; stored {
			return nil // store looks at it
		}
		there, err := w.records.Has(ref.key())
		if err != nil || !there {
			return err
		}
		if gone, err := w.isGarbage(w.head, ref); err != nil {
			return err
		} else if gone {
			return w.conflict(ref)
		}
	}
	return nil
}

// gray has the trace visit ids, unless it has.
func (m tables) gray(ids ...ID) error {
	return byChunk(ids, func(at ID, ids []ID) error {
		seen, err := readChunk(m.books, tagMarks, at)
		if err != nil {
			return err
		}
		ids = slices.DeleteFunc(ids, func(id ID) bool { return seen.has(id) })
		if len(ids) == 0 {
			return nil
		}
		c, err := readChunk(m.books, tagGray, at)
		if err != nil {
			return err
		}
		for _, id := range ids {
			c.set(id)
		}
		return m.setChunk(tagGray, at, c)
	})
}

// ungray takes ids from those that the trace is to visit.
func (m tables) ungray(ids ...ID) error {
	return byChunk(ids, func(at ID, ids []ID) error {
		c, err := readChunk(m.books, tagGray, at)
		if err != nil {
			return err
		}
		for _, id := range ids {
			c.clear(id)
		}
		return m.setChunk(tagGray, at, c)
	})
}

// mark notes that the trace has visited ids.
func (m tables) mark(ids ...ID) error {
	return byChunk(ids, func(at ID, ids []ID) error {
		c, err := readChunk(m.books, tagMarks, at)
		if err != nil {
			return err
		}
		for _, id := range ids {
			c.set(id)
		}
		return m.setChunk(tagMarks, at, c)
	})
}

// refresh makes the records fresh that the commit creates, and leaves those fresh that are, unless it
// links them.
func (w *writing) refresh() error {
	var fresh, others []ID // of what is stored
	for _, id := range w.ids {
		is, err := w.isFresh(id)
		if err != nil {
			return err
		}
		if is {
			fresh = append(fresh, id)
		} else {
			others = append(others, id)
		}
	}
	linked, err := w.link(others)
	if err != nil {
		return err
	}
	for _, id := range fresh {
		if linked[id] {
			continue
		}
		w.fresh = append(w.fresh, id)
		if _, err := w.books.Delete(id.book(tagUnreferred)); err != nil {
			return err
		}
		if err := w.books.Set(id.book(tagFresh), w.st.freshValue()); err != nil {
			return err
		}
	}
	for _, id := range sortedKeys(linked) {
		if w.created[id] {
			continue // it has no entry
		}
		if _, err := w.books.Delete(id.book(tagFresh)); err != nil {
			return err
		}
	}
	return nil
}

// isFresh reports whether a record was fresh before the commit, or is created by it.
func (w *writing) isFresh(id ID) (bool, error) {
	if id == 0 || w.created[id] {
		return id != 0, nil
	}
	return w.books.Has(id.book(tagFresh))
}

// link returns the fresh records to which references lead that the commit adds to others, which are stored and
// not fresh. All that these refer to is linked with them.
func (w *writing) link(others []ID) (map[ID]bool, error) {
	linked := map[ID]bool{}
	var todo []ID
	visit := func(refs []ID) error {
		for _, ref := range refs {
			if linked[ref] {
				continue
			}
			fresh, err := w.isFresh(ref)
			if err != nil {
				return err
			}
			if fresh {
				linked[ref] = true
				todo = append(todo, ref)
			}
		}
		return nil
	}
	for _, id := range others {
		refs, err := refsOf(id, w.values[id])
		if err != nil {
			return nil, err
		}
		refs = slices.DeleteFunc(refs, func(ref ID) bool { return !w.created[ref] }) // it may have referred to them before
		if err := visit(append(refs, w.added[id]...)); err != nil {
			return nil, err
		}
	}
	for len(todo) > 0 {
		id := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		value, is := w.values[id]
		var err error
		if !is {
			value, err = w.records.Get(id.key())
		}
		var refs []ID
		if err == nil {
			refs, err = refsOf(id, value)
		}
		if err == nil {
			err = visit(refs)
		}
		if err != nil {
			return nil, err
		}
	}
	return linked, nil
}

// A balance is how the counts of a transaction change.
type balance struct {
	tables
	by map[ID]int
}

// settle changes the counts. A record that nothing refers to any more becomes unreferred, unless it is
// fresh, and one that something refers to is no longer unreferred.
func (b balance) settle() error {
	for _, id := range sortedKeys(b.by) {
		by := b.by[id]
		if by == 0 {
			continue
		}
		was, err := b.count(id)
		if err != nil {
			return err
		}
		if by < 0 && uint64(-by) > was {
			return corrupt("found that %d records refer to %d, expected at least %d", was, id, -by)
		}
		now := was + uint64(by)
		if now == 0 {
			err = b.orphan(id)
		} else {
			err = b.counts.Set(id.key(), binary.BigEndian.AppendUint64(nil, now))
		}
		if err == nil && was == 0 {
			_, err = b.books.Delete(id.book(tagUnreferred))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (b balance) orphan(id ID) error {
	if _, err := b.counts.Delete(id.key()); err != nil || id == 0 {
		return err
	}
	there, err := b.records.Has(id.key())
	if err != nil || !there {
		return err
	}
	if fresh, err := b.books.Has(id.book(tagFresh)); err != nil || fresh {
		return err
	}
	return b.books.Set(id.book(tagUnreferred), nil)
}
