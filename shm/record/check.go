package record

import (
	"context"
	"errors"

	"github.com/seed-869cc763/shmkv/shm"
)

// Check proves the books of the current version: that each count is the number of records that
// refer to an id, that the unreferred records are those that they should be, that ids which can
// be given are not in use, and that nothing reachable lacks a mark during a sweep. The error matches
// shm.ErrCorrupt and names what was found and what was expected. Memory: about 100 bytes for
// each id. It works beside others.
func (st *Storage) Check(ctx context.Context) error {
	k, err := st.snapshot()
	if err != nil {
		return err
	}
	defer k.sn.Close()
	c := checking{known: k, stored: k.sn.Map(st.countsN), refs: map[ID][]ID{}, counts: map[ID]uint64{}}
	for _, step := range []func() error{c.readRecords, c.checkCounts, c.checkBooks, c.checkMarks} {
		if err := errors.Join(ctx.Err(), step(), k.sn.Err()); err != nil {
			return err
		}
	}
	return nil
}

type checking struct {
	known
	stored *shm.MapView // counts
	refs   map[ID][]ID
	counts map[ID]uint64
}

func (c *checking) readRecords() error {
	for key, value := range c.records.All() {
		id, err := idOf(key)
		if err != nil {
			return err
		}
		refs, err := refsOf(id, value)
		if err != nil {
			return err
		}
		if id >= c.head.next {
			return corrupt("found record %d, expected ids below %d", id, c.head.next)
		}
		once := map[ID]bool{id: true}
		for _, ref := range refs {
			if !once[ref] {
				once[ref] = true
				c.counts[ref]++
			}
		}
		c.refs[id] = refs
	}
	return nil
}

func (c *checking) checkCounts() error {
	n := 0
	for key, value := range c.stored.All() {
		id, err := idOf(key)
		if err != nil {
			return err
		}
		if string(value) != string(ID(c.counts[id]).key()) {
			return corrupt("found the count %x of %d, expected %d", value, id, c.counts[id])
		}
		n++
	}
	if n != len(c.counts) {
		return corrupt("found %d counts, expected %d", n, len(c.counts))
	}
	return nil
}

func (c *checking) checkBooks() error {
	fresh, err := c.ids(tagFresh)
	if err != nil {
		return err
	}
	unreferred, err := c.ids(tagUnreferred)
	if err != nil {
		return err
	}
	for id := range c.refs {
		want := id != 0 && c.counts[id] == 0 && !fresh[id]
		if unreferred[id] != want || id == 0 && fresh[id] {
			return corrupt("found record %d, to which %d refer, fresh: %v and unreferred: %v, expected unreferred: %v",
				id, c.counts[id], fresh[id], unreferred[id], want)
		}
	}
	for _, set := range []map[ID]bool{fresh, unreferred} {
		for id := range set {
			if _, there := c.refs[id]; !there {
				return corrupt("found %d in the books, expected a record of that id", id)
			}
		}
	}
	waiting := map[ID]bool{}
	for key := range c.books.Prefix(book(tagWaiting)) {
		number, err := numbersOf(key, 2)
		if err != nil {
			return err
		}
		id := ID(number[1])
		if _, there := c.refs[id]; there || waiting[id] || id >= c.head.next {
			return corrupt("found the id %d among those that wait to be given again, expected no record of it", id)
		}
		waiting[id] = true
	}
	return nil
}

func (c *checking) ids(tag byte) (map[ID]bool, error) {
	ids := map[ID]bool{}
	for key := range c.books.Prefix(book(tag)) {
		number, err := numbersOf(key, 1)
		if err != nil {
			return nil, err
		}
		ids[ID(number[0])] = true
	}
	return ids, nil
}

// checkMarks looks for records that a sweep would take though something that stays refers to them.
func (c *checking) checkMarks() error {
	if c.head.phase != phaseSweep {
		return nil
	}
	for id, refs := range c.refs {
		seen, err := marked(c.books, id)
		if err != nil {
			return err
		}
		if !seen {
			continue
		}
		for _, ref := range refs {
			if _, there := c.refs[ref]; !there {
				continue
			}
			if seen, err = marked(c.books, ref); err != nil {
				return err
			} else if !seen {
				return corrupt("found that the trace has visited %d and not %d, to which it refers: expected both", id, ref)
			}
		}
	}
	return nil
}
