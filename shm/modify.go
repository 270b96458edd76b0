package shm

import (
	"bytes"

	"github.com/seed-869cc763/shmkv/hamt"
	"github.com/seed-869cc763/shmkv/node"
)

// change is what a conditional write decides about its key.
type change uint8

const (
	leave change = iota
	put
	drop
)

// A decision is what a conditional write makes of its key's present value. It may
// be asked for again, when another commit came first; old is valid in it only.
type decision func(old []byte, exists bool) (value []byte, c change, err error)

// modify commits what decide makes of the key's present value, or nothing.
func (s *Store) modify(key []byte, decide decision) error {
	for tries, round := 0, 0; ; {
		last, err := s.modifyOnce(key, decide)
		if s.makesRoom(err, &round) {
			continue
		}
		if last != drop || !again(err, tries) {
			return err
		}
		tries++
	}
}

// modifyOnce also returns what was decided last.
func (s *Store) modifyOnce(key []byte, decide decision) (last change, err error) {
	w, err := s.writer(false, true)
	if err != nil {
		return leave, s.fail("writing to", err)
	}
	committed := false
	done := false
	defer func() {
		if !done { // decide has panicked
			w.Abort(0)
		}
		w.finish(committed)
	}()
	s.functions.enter()
	defer s.functions.leave()
	committed, last, err = w.modify(s.hashOf(key), key, decide)
	done = true
	if err != nil {
		return last, s.fail("writing to", err)
	}
	return last, nil
}

func (w *writer) modify(h uint64, key []byte, decide decision) (committed bool, c change, err error) {
	if err := w.begin(); err != nil {
		return false, leave, w.abandon(err)
	}
	c, err = w.decide(h, key, decide)
	for lost := 0; err == nil && c != leave; {
		if committed, err = w.commit(1); committed {
			return true, c, nil
		} else if err != nil || !w.Sound() {
			break
		}
		if lost++; lost == MaxRuns {
			err = errConflict()
			break
		}
		var ok bool
		if ok, err = w.rebase(h); !ok && err == nil {
			w.Abort(0)
			w.reset()
			c, err = w.decide(h, key, decide)
		}
	}
	return false, c, w.abandon(err)
}

// decide asks what is to become of key and does it in the transaction.
func (w *writer) decide(h uint64, key []byte, decide decision) (change, error) {
	r := w.reader()
	l, status := r.Find(w.tx.Root, h, key)
	if status == node.Damaged {
		return leave, damage(r.Explain(w.tx.Root, h, key))
	}
	var old []byte
	if status == node.Present {
		old = r.Value(l)
	}
	if !w.Sound() {
		return leave, nil // what decide allocates must not be as long as garbage says (rule R2)
	}
	value, c, err := decide(old, status == node.Present)
	if err == nil && c == put {
		err = w.s.checkSizes(key, value)
	}
	if err != nil || c == leave || c == drop && status == node.Absent {
		return leave, err
	}
	w.AllowReserve(c == drop)
	if c == put {
		_, _, err = w.tx.Set(h, key, value)
	} else {
		_, _, err = w.tx.Delete(h, key)
	}
	return c, err
}

// reader reads all that the transaction can, through the read-only mapping.
func (w *writer) reader() hamt.Reader {
	end, _ := w.s.a.Limit()
	return hamt.NewReader(w.s.a.Mem(), end)
}

// decide is the decision of a swap or a compareAndSwap.
func (e *edit) decide(was []byte, exists bool) ([]byte, change, error) {
	if e.verb == swap {
		e.was, e.ok = nil, exists
		if exists {
			e.was = append([]byte{}, was...)
		}
	} else if e.ok = exists == (e.old != nil) && bytes.Equal(was, e.old); !e.ok {
		return nil, leave, nil
	}
	if e.value == nil {
		return nil, drop, nil
	}
	return e.value, put, nil
}

// Swap makes value the value of key, or deletes key if value is nil, and
// returns what was there before, copied.
func (s *Store) Swap(key, value []byte) (old []byte, existed bool, err error) {
	e := &edit{verb: swap, hash: s.hashOf(key), key: key, value: value}
	e.decider = e.decide
	if err := s.write("writing to", e); err != nil {
		return nil, false, err
	}
	return e.was, e.ok, nil
}

// CompareAndSwap replaces the value old of key by new and reports whether it
// did. nil means absent: as old, the key must not be there; as new, it is
// deleted.
func (s *Store) CompareAndSwap(key, old, new []byte) (swapped bool, err error) {
	e := &edit{verb: compareAndSwap, hash: s.hashOf(key), key: key, value: new, old: old}
	e.decider = e.decide
	err = s.write("writing to", e)
	return e.ok && err == nil, err
}

// Modify makes of key what fn returns: the new value, or with keep false,
// nothing. old is the store's own memory: it is valid in fn only, and must not
// be written to. fn may run again when another commit came first, at most MaxRuns
// times, so it should do nothing but compute. It may read the store, and must not
// write to it (ErrNested). A panic in fn changes nothing.
func (s *Store) Modify(key []byte, fn func(old []byte, exists bool) (new []byte, keep bool)) error {
	return s.modify(key, func(old []byte, exists bool) ([]byte, change, error) {
		value, keep := fn(old, exists)
		if !keep {
			return nil, drop, nil
		}
		return value, put, nil
	})
}
