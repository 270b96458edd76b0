package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/seed-869cc763/shmkv/shm"
)

const (
	// maxGiven is how many ids a session may have been given without having stored them.
	maxGiven = 1 << 24
	// maxWaiting is how many ids that wait to be given again are looked at for one call.
	maxWaiting = 4096
)

// NewIDs appends n ids to dst that no session was given before, and that this one may store. Ids of
// records that were collected are given again: see the package comment. One commit hands them out.
func (s *Session) NewIDs(dst []ID, n int) ([]ID, error) {
	st := s.st
	st.turn.Lock()
	defer st.turn.Unlock()
	if err := s.usable(); err != nil {
		return dst, err
	}
	switch {
	case n < 0:
		return dst, fmt.Errorf("record: %d ids were asked for, expected 0 or more", n)
	case n == 0:
		return dst, nil
	case s.given.n+n > maxGiven:
		return dst, fmt.Errorf("record: the session has %d ids that it has not stored and asks for %d more, expected at most %d",
			s.given.n, n, maxGiven)
	}
	var ids []ID
	if err := st.update(func(tx *shm.Tx) (err error) {
		ids, err = st.newIDs(st.tables(tx), n)
		return err
	}); err != nil {
		return dst, err
	}
	for _, id := range ids {
		s.given.add(id)
	}
	return append(dst, ids...), nil
}

// NewID returns an id as NewIDs does.
func (s *Session) NewID() (ID, error) {
	ids, err := s.NewIDs(nil, 1)
	if err != nil {
		return 0, err
	}
	return ids[0], nil
}

func (st *Storage) newIDs(m tables, n int) ([]ID, error) {
	h, err := readHead(m.books)
	if err != nil {
		return nil, err
	}
	var ids []ID
	free, err := st.rootIsFree(m, h)
	if err != nil {
		return nil, err
	}
	if free {
		ids = append(ids, 0)
		h.rooter, h.next = st.owner, max(h.next, 1)
	}
	if len(ids) < n {
		if ids, err = st.takeWaiting(m, ids, n); err != nil {
			return nil, err
		}
	}
	rest := uint64(n - len(ids))
	if uint64(h.next) > math.MaxUint64-rest {
		return nil, fmt.Errorf("record: %w: all ids were given", shm.ErrFull)
	}
	for range rest {
		ids = append(ids, h.next)
		h.next++
	}
	return ids, m.setHead(h)
}

// rootIsFree reports whether there is no root, nor a session that could store it.
func (st *Storage) rootIsFree(m tables, h head) (bool, error) {
	there, err := m.records.Has(ID(0).key())
	if err != nil || there {
		return false, err
	}
	if h.rooter == 0 {
		return true, nil
	}
	alive, err := st.store.Alive(h.rooter)
	return !alive, err
}

// takeWaiting appends ids of collected records to ids until there are n of them, as far as all
// sessions were told that they were collected.
func (st *Storage) takeWaiting(m tables, ids []ID, n int) ([]ID, error) {
	if key, _, err := m.books.Ceil(book(tagWaiting)); errors.Is(err, shm.ErrNotFound) || err == nil && key[0] != tagWaiting {
		return ids, nil
	} else if err != nil {
		return nil, err
	}
	told, err := st.toldAll(m)
	if err != nil {
		return nil, err
	}
	var taken [][]byte
	looked := 0
	for key := range m.books.Prefix(book(tagWaiting)) {
		number, err := numbersOf(key, 2)
		if err != nil {
			return nil, err
		}
		if looked++; len(ids) == n || looked > maxWaiting || number[0] > told {
			break
		}
		id := ID(number[1])
		refs, err := m.count(id)
		if err != nil {
			return nil, err
		}
		if refs == 0 {
			ids, taken = append(ids, id), append(taken, key)
		}
	}
	for _, key := range taken {
		if _, err := m.books.Delete(key); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

// toldAll returns the stamp up to which all sessions of all live handles know what was collected.
// The caller has turn.
func (st *Storage) toldAll(m tables) (uint64, error) {
	told := st.least()
	for key, value := range m.books.Prefix(book(tagClient)) {
		number, err := numbersOf(key, 2)
		if err != nil {
			return 0, err
		}
		if len(value) != 8 {
			return 0, corrupt("found a position of %d bytes, expected 8", len(value))
		}
		at := binary.BigEndian.Uint64(value)
		if at >= told || shm.Owner(number[0]) == st.owner && number[1] == st.number {
			continue
		}
		alive, err := st.store.Alive(shm.Owner(number[0]))
		if err != nil {
			return 0, err
		}
		if alive {
			told = at
		}
	}
	return told, nil
}

// count returns how many records refer to id.
func (m tables) count(id ID) (uint64, error) {
	b, err := m.counts.Get(id.key())
	if errors.Is(err, shm.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if len(b) != 8 {
		return 0, corrupt("found a count of %d bytes, expected 8", len(b))
	}
	return binary.BigEndian.Uint64(b), nil
}
