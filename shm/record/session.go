package record

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/seed-869cc763/shmkv/shm"
)

// A Session is a client of a Storage: it sees one version of the records until it calls Sync, and
// is told which ids changed. One goroutine uses it at a time.
type Session struct {
	st *Storage

	// position is written by the session's goroutine with turn, and read there or with turn.
	position uint64
	held     idSet
	given    idSet // and not stored yet
	fresh    idSet // that it was the last of the handle to store, unless something refers to them by now
	refused  idSet // garbage that a commit or a load met; Sync tells
	closed   bool
	lagged   atomic.Bool
	onLagged func()
}

// Session begins a session, whose view is of the current version. It must be closed.
func (st *Storage) Session() (*Session, error) {
	st.turn.Lock()
	defer st.turn.Unlock()
	if st.closed {
		return nil, errClosed
	}
	if len(st.sessions) == 0 {
		if err := st.join(); err != nil {
			return nil, err
		}
	}
	s := &Session{st: st}
	st.sessions[s] = struct{}{}
	if err := st.look(); err != nil {
		delete(st.sessions, s)
		return nil, errors.Join(err, st.leftLocked())
	}
	s.position = st.known.head.stamp
	return s, nil
}

var errClosed = fmt.Errorf("record: %w", shm.ErrClosed)

// usable returns the error why a session cannot be used. The caller has view or turn.
func (s *Session) usable() error {
	switch {
	case s.closed || s.st.known.sn == nil:
		return errClosed
	case s.lagged.Load():
		return fmt.Errorf("record: %w: it was not told of changes of more than %d records", ErrLagged, s.st.opts.MaxChanges)
	}
	return nil
}

// OnLagged sets a function that is called, once, when the session was given up: see ErrLagged. It
// must not use the Storage.
func (s *Session) OnLagged(f func()) {
	s.st.turn.Lock()
	defer s.st.turn.Unlock()
	s.onLagged = f
}

// Load returns the record of an id as the session sees it, shm.ErrNotFound if there is none, or an
// error that matches ErrConflict if it has changed since the session's last Sync. The slices
// are the caller's.
func (s *Session) Load(id ID) (Record, error) {
	b, err := s.Append(nil, id)
	if err != nil {
		return Record{}, err
	}
	r, err := Parse(b)
	if err != nil {
		return Record{}, corrupt("%v", err)
	}
	return r, nil
}

// Append appends the packed form of the record that Load would return to dst: see Record.Append.
// On an error it returns dst as it was.
func (s *Session) Append(dst []byte, id ID) ([]byte, error) {
	st := s.st
	if !st.used.Load() {
		st.used.Store(true)
	}
	st.view.RLock()
	defer st.view.RUnlock()
	if err := s.usable(); err != nil {
		return dst, err
	}
	if s.refused.has(id) || st.changes.changed(id, s) {
		return dst, &ConflictError{[]ID{id}}
	}
	value, err := st.known.records.Get(id.key())
	if err == nil && st.known.head.phase == phaseSweep {
		var seen bool
		seen, err = marked(st.known.books, id)
		if err == nil && !seen {
			if s.position < st.known.head.cut {
				s.refused.add(id)
				return dst, &ConflictError{[]ID{id}}
			}
			err = shm.ErrNotFound
		}
	}
	if err != nil {
		// That it is not there was seen. Nothing is noted of ids far above those that were ever given: a client
		// that asks for any numbers would take 512 bytes for each.
		if errors.Is(err, shm.ErrNotFound) && id/chunkIDs <= st.known.head.next/chunkIDs {
			s.held.add(id)
		}
		return dst, fmt.Errorf("record: loading %d: %w", id, err)
	}
	s.held.add(id)
	return append(append(dst, id.key()...), value...), nil
}

// LoadMany calls f for each id with what Load returns for it, in order, until f returns false.
func (s *Session) LoadMany(ids []ID, f func(i int, r Record, err error) bool) {
	for i, id := range ids {
		r, err := s.Load(id)
		if !f(i, r, err) {
			return
		}
	}
}

// Sync moves the session's view to the current version, and returns the ids of the records that
// other sessions, or a collection, have changed or deleted since the last Sync, in no order.
func (s *Session) Sync() ([]ID, error) {
	st := s.st
	st.turn.Lock()
	defer st.turn.Unlock()
	if err := s.usable(); err != nil {
		return nil, err
	}
	if err := st.look(); err != nil {
		return nil, err
	}
	ids := s.refused.all()
	st.changes.since(s, func(id ID, _ bool) {
		if !s.refused.has(id) {
			ids = append(ids, id)
		}
	})
	for _, id := range ids {
		s.held.remove(id)
	}
	s.refused = idSet{}
	if s.position == st.known.head.stamp {
		return ids, nil
	}
	s.position = st.known.head.stamp
	st.forget()
	return ids, st.publish()
}

// Close ends the session. What it has stored and nothing refers to becomes garbage, and the ids
// that it was given and has not stored are not given again. A second Close does nothing.
func (s *Session) Close() error { return s.leave() }

func (s *Session) leave() error {
	st := s.st
	st.turn.Lock()
	defer st.turn.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	delete(st.sessions, s)
	var err error
	if fresh := s.fresh.all(); len(fresh) > 0 || s.given.has(0) {
		err = st.store.Update(func(tx *shm.Tx) error { return st.abandon(st.tables(tx), fresh, s.given.has(0)) })
	}
	return errors.Join(err, st.leftLocked())
}

// leftLocked ends the following of the store if the last session has left. The caller has turn.
func (st *Storage) leftLocked() error {
	if len(st.sessions) > 0 {
		st.forget()
		return st.publish()
	}
	st.unfollow()
	st.view.Lock()
	sn := st.known.sn
	st.known, st.changes = known{}, changes{}
	st.view.Unlock()
	return errors.Join(sn.Close(), st.deleteClient())
}

// abandon takes what a session has stored and nothing refers to for unreferred, and the id 0 back
// if the session was given it. Other handles' entries stay.
func (st *Storage) abandon(m tables, fresh []ID, root bool) error {
	for _, id := range fresh {
		value, err := m.books.Get(id.book(tagFresh))
		if errors.Is(err, shm.ErrNotFound) || err == nil && string(value) != string(st.freshValue()) {
			continue
		}
		if err == nil {
			err = m.endFresh(id)
		}
		if err != nil {
			return err
		}
	}
	h, err := readHead(m.books)
	if err != nil {
		return err
	}
	if root && h.rooter == st.owner {
		h.rooter = 0
	}
	if len(fresh) > 0 {
		h.traced = 0
	}
	return m.setHead(h)
}

// freshValue is the value of the entries of fresh records that sessions of the handle have stored.
func (st *Storage) freshValue() []byte { return book(tagClient, uint64(st.owner), st.number)[1:] }

// endFresh takes a fresh record for unreferred, if it is there and nothing refers to it.
func (m tables) endFresh(id ID) error {
	if _, err := m.books.Delete(id.book(tagFresh)); err != nil {
		return err
	}
	there, err := m.records.Has(id.key())
	if err != nil || !there {
		return err
	}
	n, err := m.count(id)
	if err != nil || n > 0 {
		return err
	}
	return m.books.Set(id.book(tagUnreferred), nil)
}
