package record

import (
	"errors"
	"fmt"

	"github.com/seed-869cc763/shmkv/shm"
)

// A Commit is what a session stores in one step. It is used by the session's goroutine.
type Commit struct {
	s       *Session
	records map[ID][]byte // values
	bytes   int64
	ended   bool
}

// Begin begins a commit. Nothing happens in the store until End; a Commit that is not wanted
// needs none.
func (s *Session) Begin() *Commit { return &Commit{s: s, records: map[ID][]byte{}} }

// Store adds a record to the commit, in place of one with the same id. The slices are copied. A
// record that is not there needs an id of NewIDs, or 0.
func (c *Commit) Store(r Record) error {
	if n := r.packedSize(); n > MaxRecord {
		return fmt.Errorf("record: %w: record %d has %d bytes, expected at most %d", shm.ErrTooLarge, r.ID, n, MaxRecord)
	}
	value := r.Append(make([]byte, 0, r.packedSize()))[idSize:]
	c.bytes += int64(len(value)) - int64(len(c.records[r.ID]))
	c.records[r.ID] = value
	return nil
}

// overtakenRuns is how often a commit tries again that other handles overtake while it looks at
// what they have changed.
const overtakenRuns = 1000

// End commits all records that were stored as a whole, or nothing. Without an error they are
// there, for all sessions; that they survive a crash of the system is up to the policies of
// checkpoints. An error that matches ErrConflict names records that the session holds or has
// stored and that were changed since its last Sync. With ErrNotGiven an id is not the session's to
// store. An error that matches shm.ErrFlush comes after the commit, as from shm.Store.Update.
func (c *Commit) End() error {
	if c.ended {
		return errors.New("record: the commit has ended before")
	}
	c.ended = true
	if len(c.records) == 0 {
		return nil
	}
	s, st := c.s, c.s.st
	if err := func() error {
		st.turn.Lock()
		defer st.turn.Unlock()
		if err := s.usable(); err != nil {
			return err
		}
		return st.commit(c)
	}(); err != nil {
		return err
	}
	return st.keeping.committed(st.store, c.bytes)
}

// commit makes a commit. The caller has turn.
func (st *Storage) commit(c *Commit) error {
	if err := st.look(); err != nil {
		return err
	}
	ids := sortedKeys(c.records)
	for runs := 0; ; runs++ {
		var w *writing
		err := st.update(func(tx *shm.Tx) error {
			w = &writing{st: st, s: c.s, tables: st.tables(tx), values: c.records, ids: ids, created: map[ID]bool{}, added: map[ID][]ID{}}
			return w.run()
		})
		switch {
		case err == nil:
			return st.committed(w)
		case errors.Is(err, errOvertaken) && runs < overtakenRuns:
			continue
		case errors.Is(err, errOvertaken):
			return fmt.Errorf("record: committing: %w", shm.ErrConflict)
		case errors.Is(err, shm.ErrFlush), errors.Is(err, shm.ErrInUse): // it was committed
			return errors.Join(err, st.committed(w))
		}
		if w != nil && w.garbage {
			for _, id := range w.conflicts {
				c.s.refused.add(id)
			}
		}
		return err
	}
}

// committed notes what a transaction has changed. The caller has turn.
func (st *Storage) committed(w *writing) error {
	s := w.s
	for _, id := range w.ids {
		s.held.add(id)
		s.given.remove(id)
	}
	for _, id := range w.fresh {
		for other := range st.sessions {
			other.fresh.remove(id)
		}
		s.fresh.add(id)
	}
	now, err := st.snapshot()
	if err != nil {
		return err
	}
	var others map[ID]change
	if now.head.stamp != w.head.stamp {
		if others, err = st.difference(now, w.values); err != nil {
			return errors.Join(err, now.sn.Close())
		}
	}
	if w.isView() {
		s.position = w.head.stamp
	}
	return st.know(now, func(c *changes) {
		for _, id := range w.ids {
			if _, is := others[id]; !is {
				c.add(id, change{stamp: w.head.stamp, by: s})
			}
		}
		for _, id := range w.removed {
			if _, is := others[id]; !is {
				c.add(id, change{stamp: w.head.stamp, collected: true})
			}
		}
		for id, at := range others {
			c.add(id, at)
		}
	})
}
