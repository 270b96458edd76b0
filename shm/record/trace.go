package record

import (
	"errors"
	"time"

	"github.com/seed-869cc763/shmkv/shm"
)

const (
	// defaultStep is how many records a step of a collection looks at, if there is nobody beside it. It takes about
	// a millisecond.
	defaultStep = 512
	// besideShare is which part of that a step looks at beside others. They may have to wait for its end: the
	// system lets a thread that computes go on for some milliseconds, and a step may hold commits back.
	besideShare = 8
	// besideFor is how long a session or a commit counts as one beside the collection.
	besideFor = 20 * time.Millisecond
	// stepBytes is how many bytes of records a step looks at, and one record more. So it is far shorter than
	// stuckAfter, also with large records.
	stepBytes = 8 << 20
)

// A collection is what a handle knows of one that it runs. All of it can be lost.
type collection struct {
	st      *Storage
	records int // that a step looks at, if there is nobody beside it

	gone   uint64    // records that the last step has deleted
	stamp  uint64    // that the last step has left
	others time.Time // when there was somebody beside it
	seen   idSet     // what the trace has marked, when the sweep began
	cycle  uint64    // that seen is of
}

// begin begins a collection unless one is under way.
func (c *collection) begin() (begun bool, err error) {
	st := c.st
	err = st.store.Update(func(tx *shm.Tx) error {
		m := st.tables(tx)
		h, err := readHead(m.books)
		begun = err == nil && h.phase == phaseIdle
		if !begun {
			return err
		}
		if h.importing != 0 {
			return errImporting
		}
		if err := st.adopt(m); err != nil {
			return err
		}
		h.phase, h.runner, h.began, h.own = phaseMark, st.owner, h.stamp, 0
		h.cycle++
		h.steps++
		first := []ID{0} // and the fresh records
		for key := range m.books.Prefix(book(tagFresh)) {
			number, err := numbersOf(key, 1)
			if err != nil {
				return err
			}
			first = append(first, ID(number[0]))
		}
		if err := m.gray(first...); err != nil {
			return err
		}
		return m.setHead(h)
	})
	return begun, err
}

// beside reports whether sessions of this handle, or commits of any, are beside the collection.
func (c *collection) beside() bool { return time.Since(c.others) < besideFor }

// size returns how many records the next step looks at.
func (c *collection) size() int {
	if c.beside() {
		return max(c.records/besideShare, 1)
	}
	return c.records
}

func (c *collection) takeOver(steps uint64) error {
	return c.st.store.Update(func(tx *shm.Tx) error {
		m := c.st.tables(tx)
		h, err := readHead(m.books)
		if err != nil || h.steps != steps {
			return err
		}
		h.runner = c.st.owner
		h.steps++
		return m.setHead(h)
	})
}

// step makes one step if the handle runs the collection, and returns the head from before it.
func (c *collection) step() (head, error) {
	k, err := c.st.snapshot()
	if err != nil {
		return head{}, err
	}
	c.gone = 0
	if k.head.runner == c.st.owner {
		if c.st.used.Swap(false) || k.head.stamp != c.stamp {
			c.others = time.Now()
		}
		switch k.head.phase {
		case phaseMark:
			err = c.markStep(k)
		case phaseSweep:
			err = c.sweepStep(k)
		}
	}
	return k.head, errors.Join(err, k.sn.Close())
}

// change commits a step that was planned over a snapshot, unless the collection has another state
// by now.
func (c *collection) change(planned head, f func(m tables, h *head) error) error {
	return c.st.store.Update(func(tx *shm.Tx) error {
		m := c.st.tables(tx)
		h, err := readHead(m.books)
		if err != nil || h.steps != planned.steps {
			return err
		}
		if err := f(m, &h); err != nil {
			return err
		}
		h.steps++
		c.stamp = h.stamp
		return m.setHead(h)
	})
}

// markStep visits gray records.
func (c *collection) markStep(k known) error {
	var asked []ID
	size := c.size()
	for key, value := range k.books.Prefix(book(tagGray)) {
		number, err := numbersOf(key, 1)
		if err != nil {
			return err
		}
		var bits chunk
		if err := bits.decode(value); err != nil {
			return err
		}
		if asked = bits.appendIDs(asked, ID(number[0])*chunkIDs); len(asked) >= size {
			asked = asked[:size]
			break
		}
	}
	if err := k.sn.Err(); err != nil {
		return err
	}
	if len(asked) == 0 {
		return c.cut(k.head)
	}
	var visited, absent []ID
	var done idSet
	bytes := 0
	todo := append([]ID(nil), asked...)
	for len(todo) > 0 && len(visited)+len(absent) < size && bytes < stepBytes {
		id := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if !done.add(id) {
			continue
		}
		if seen, err := marked(k.books, id); err != nil {
			return err
		} else if seen {
			continue
		}
		value, err := k.records.Get(id.key())
		if errors.Is(err, shm.ErrNotFound) {
			absent = append(absent, id)
			continue
		}
		if err != nil {
			return err
		}
		refs, err := refsOf(id, value)
		if err != nil {
			return err
		}
		visited = append(visited, id)
		bytes += len(value)
		for _, ref := range refs {
			if ref < k.head.next { // or it is no record, and whoever creates it makes it gray
				todo = append(todo, ref)
			}
		}
	}
	var later idSet
	for _, id := range todo {
		if !done.has(id) {
			later.add(id)
		}
	}
	return c.change(k.head, func(m tables, _ *head) error { return m.visit(asked, visited, absent, later.all()) })
}

// visit takes what a step was asked for from the gray ids, marks what it has visited, and makes
// gray what it leaves for later.
func (m tables) visit(asked, visited, absent, later []ID) error {
	if err := m.ungray(asked...); err != nil {
		return err
	}
	if err := m.mark(visited...); err != nil {
		return err
	}
	for _, id := range absent { // it may have been stored since
		there, err := m.records.Has(id.key())
		if err == nil && there {
			err = m.gray(id)
		}
		if err != nil {
			return err
		}
	}
	return m.gray(later...)
}

// cut begins the sweep, unless something is gray by now.
func (c *collection) cut(planned head) error {
	return c.change(planned, func(m tables, h *head) error {
		key, _, err := m.books.Ceil(book(tagGray))
		if err == nil && key[0] == tagGray {
			return nil
		}
		if err != nil && !errors.Is(err, shm.ErrNotFound) {
			return err
		}
		h.stamp++ // what is not marked is gone
		h.own++
		h.phase, h.cut, h.cursor = phaseSweep, h.stamp, 0
		return nil
	})
}

// sweepStep deletes some records that are not marked.
func (c *collection) sweepStep(k known) error {
	if c.cycle != k.head.cycle {
		if err := c.readSeen(k); err != nil {
			return err
		}
	}
	var found []ID
	var cursor uint64
	n, bytes, size := 0, 0, c.size()
	for key, value := range k.records.AllFrom(k.head.cursor) {
		id, err := idOf(key)
		if err != nil {
			return err
		}
		if !c.seen.has(id) {
			found = append(found, id)
		}
		bytes += len(value)
		if n++; n >= size || bytes >= stepBytes {
			cursor = c.st.records.After(key)
			break
		}
	}
	if err := k.sn.Err(); err != nil {
		return err
	}
	return c.change(k.head, func(m tables, h *head) error {
		c.gone = 0
		for _, id := range found {
			there, err := m.records.Has(id.key())
			if err != nil {
				return err
			}
			seen, err := marked(m.books, id)
			if err != nil {
				return err
			}
			if !there || seen {
				continue
			}
			if err := m.remove(h, id); err != nil {
				return err
			}
			c.gone++
		}
		if c.gone > 0 {
			h.stamp++
			h.lastGone = h.stamp
			h.own++
		}
		if h.cursor = cursor; cursor != 0 {
			return nil
		}
		h.phase = phaseIdle
		if h.traced = h.began; h.stamp == h.began+h.own {
			h.traced = h.stamp
		}
		_, err := m.books.DeleteRange(book(tagMarks), book(tagMarks+1))
		return err
	})
}

func (c *collection) readSeen(k known) error {
	c.seen, c.cycle = idSet{chunks: map[ID]*chunk{}}, k.head.cycle
	for key, value := range k.books.Prefix(book(tagMarks)) {
		number, err := numbersOf(key, 1)
		if err != nil {
			return err
		}
		var bits chunk
		if err := bits.decode(value); err != nil {
			return err
		}
		c.seen.chunks[ID(number[0])] = &bits
	}
	return k.sn.Err()
}
