package shm

import (
	"errors"
	"fmt"
	"time"

	"github.com/seed-869cc763/shmkv/node"
)

// checkSizes refuses what no format or no store of this MaxSize can hold.
func (s *Store) checkSizes(key, value []byte) error {
	if len(key) > MaxKey {
		return fmt.Errorf("%w: found a key of %d bytes, expected at most %d", ErrTooLarge, len(key), MaxKey)
	}
	if uint64(len(value)) > MaxValue {
		return fmt.Errorf("%w: found a value of %d bytes, expected at most %d", ErrTooLarge, len(value), uint64(MaxValue))
	}
	l := node.Leaf{KeyLen: uint32(len(key)), ValueLen: uint32(len(value))}
	if most := s.maxBlock; l.Size() > most {
		return fmt.Errorf("%w: found a key and a value of %d bytes, expected at most %d in a store of a MaxSize of %d",
			ErrTooLarge, len(key)+len(value), most-(l.Size()-uint64(len(key)+len(value))), s.a.MaxSize())
	}
	return nil
}

// An edit is a write to one key, and what came of it.
type edit struct {
	verb  verb
	hash  uint64
	key   []byte
	value []byte // nil, in a swap or a compareAndSwap: the key is deleted
	old   []byte // of a compareAndSwap; nil: the key is not there

	decider decision // of a swap or a compareAndSwap: its decide
	outcome
}

type verb uint8

const (
	set verb = iota
	remove
	swap
	compareAndSwap
)

type outcome struct {
	changed bool   // the edit has set or deleted the key
	ok      bool   // the key was there, or a compareAndSwap has found what it expects
	was     []byte // before a swap, copied
	err     error
}

// frees reports whether the edit can only free space.
func (e *edit) frees() bool { return e.verb == remove || e.verb != set && e.value == nil }

// write carries out an edit, and makes room for it where that helps. op says what it is
// doing, for errors.
func (s *Store) write(op string, e *edit) error {
	for tries, round := 0, 0; ; {
		s.writeOnce(e)
		if e.err == nil {
			return nil
		}
		err := s.fail(op, e.err)
		if s.makesRoom(err, &round) {
			continue
		}
		if !e.frees() || !again(err, tries) {
			return err
		}
		tries++
	}
}

func (s *Store) writeOnce(e *edit) {
	u, ok := s.a.Enter()
	if !ok {
		e.err = ErrClosed
		return
	}
	took := false
	switch {
	case s.functions.running():
		e.err = ErrNested
	case len(e.key)+len(e.value)+len(e.old) <= sharedMost:
		took = s.share(e)
	default:
		took = s.alone(e)
	}
	s.a.Leave(u)
	if took {
		s.makeRoom(1, 1, false)
	}
}

// alone carries out an edit beside those of other goroutines. It reports whether it
// took pages of the reserve.
func (s *Store) alone(e *edit) (took bool) {
	w, err := s.take(true, e.frees())
	if err != nil {
		e.err = err
		return false
	}
	w.carryOut(e)
	took = w.TookReserve()
	s.a.Release(w.Slot)
	return took
}

// carryOut makes a transaction of one edit.
func (w *writer) carryOut(e *edit) {
	w.AllowReserve(e.frees())
	e.changed, e.err = w.lightly(func() (bool, error) {
		switch e.verb {
		case set:
			return w.set(e.hash, e.key, e.value)
		case remove:
			var err error
			e.ok, err = w.remove(e.hash, e.key)
			return e.ok, err
		}
		committed, _, err := w.modify(e.hash, e.key, e.decider)
		return committed, err
	})
	w.conclude(e.changed)
}

// apply makes an edit part of a transaction.
func (w *writer) apply(e *edit) {
	switch e.verb {
	case set:
		_, _, e.err = w.tx.Set(e.hash, e.key, e.value)
		e.changed = e.err == nil
	case remove:
		_, e.ok, e.err = w.tx.Delete(e.hash, e.key)
		e.changed = e.ok
	default:
		var c change
		c, e.err = w.decide(e.hash, e.key, e.decider)
		e.changed = c != leave
	}
}

// Set makes value the value of key. Both are copied. Sets that goroutines make at one
// time may be one commit, else each is one of its own; many keys are faster in one
// Update.
func (s *Store) Set(key, value []byte) error {
	if err := s.checkSizes(key, value); err != nil {
		return s.fail("writing to", err)
	}
	e := edit{verb: set, hash: s.hashOf(key), key: key, value: value}
	return s.write("writing to", &e)
}

// set commits one blind write. A lost compare-and-swap costs the branches that the
// winner has replaced too; if that is all of them, the leaf is kept still, which is
// the first block of the transaction.
func (w *writer) set(h uint64, key, value []byte) (committed bool, err error) {
	if err := w.begin(); err != nil {
		return false, w.abandon(err)
	}
	leaf, err := w.tx.NewLeaf(key, value)
	if err == nil {
		_, _, err = w.tx.SetLeaf(h, leaf)
	}
	for err == nil {
		if committed, err = w.commit(1); committed {
			return true, nil
		} else if err != nil || !w.Sound() {
			break
		}
		var ok bool
		if ok, err = w.rebase(h); !ok && err == nil {
			w.Abort(1)
			w.reset()
			_, _, err = w.tx.SetLeaf(h, leaf)
		}
	}
	return false, w.abandon(err)
}

func (w *writer) abandon(err error) error {
	w.Abort(0)
	if errors.Is(err, ErrFull) {
		w.CountRefused()
	}
	return err
}

// patience is how often an operation that frees space is tried again when there is
// none for it, a millisecond later each time.
const patience = 20

// again reports whether an operation that frees space is to be tried again:
// transactions that are under way may have the last pages, and give them back
// when they end. While it waits, the operation has none itself.
func again(err error, tries int) bool {
	if !errors.Is(err, ErrFull) || tries == patience {
		return false
	}
	time.Sleep(time.Millisecond)
	return true
}

// Delete removes key and reports whether it was there.
func (s *Store) Delete(key []byte) (existed bool, err error) {
	e := edit{verb: remove, hash: s.hashOf(key), key: key}
	err = s.write("deleting from", &e)
	return e.ok && err == nil, err
}

func (w *writer) remove(h uint64, key []byte) (existed bool, err error) {
	if err := w.begin(); err != nil {
		return false, w.abandon(err)
	}
	_, existed, err = w.tx.Delete(h, key)
	for err == nil && existed {
		var won, ok bool
		if won, err = w.commit(1); won {
			return true, nil
		} else if err != nil || !w.Sound() {
			break
		}
		if ok, err = w.rebase(h); !ok && err == nil {
			w.Abort(0)
			w.reset()
			_, existed, err = w.tx.Delete(h, key)
		}
	}
	return false, w.abandon(err)
}
