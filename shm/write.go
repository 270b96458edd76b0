package shm

import (
	"errors"
	"fmt"
	"time"

	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/node"
)

// checkSizes refuses what no format or no store of this MaxSize can hold. flags is that of
// the entry's leaf.
func (s *Store) checkSizes(flags uint64, key, value []byte) error {
	if len(key) > MaxKey {
		return fmt.Errorf("%w: found a key of %d bytes, expected at most %d", ErrTooLarge, len(key), MaxKey)
	}
	if uint64(len(value)) > MaxValue {
		return fmt.Errorf("%w: found a value of %d bytes, expected at most %d", ErrTooLarge, len(value), uint64(MaxValue))
	}
	if node.MakeLeaf(0, len(key), len(value), flags).Size() > s.maxBlock {
		most := s.maxBlock - node.MakeLeaf(0, 0, 0, flags).Size()
		return fmt.Errorf("%w: found a key and a value of %d bytes, expected at most %d in a store of a MaxSize of %d",
			ErrTooLarge, len(key)+len(value), most, s.a.MaxSize())
	}
	return nil
}

// An edit is a write to one key, and what came of it.
type edit struct {
	verb  verb
	to    *target
	hash  uint64
	key   []byte
	value []byte // nil, in a swap or a compareAndSwap: the key is deleted
	old   []byte // of a compareAndSwap; nil: the key is not there

	decide decision // of the verbs that look at the present value
	did    Action   // the last decision
	failed bool     // it was an error, of the user's function
	outcome
}

type verb uint8

const (
	set verb = iota
	remove
	swap
	compareAndSwap
	compute
)

type outcome struct {
	changed bool   // the edit has set or deleted the key
	ok      bool   // the key was there, or a compareAndSwap has found what it expects
	was     []byte // before a swap, copied
	err     error
}

// frees reports whether the edit can only free space, as far as is known.
func (e *edit) frees() bool {
	switch e.verb {
	case set:
		return false
	case remove:
		return true
	case compute:
		return e.did == ActionDelete
	}
	return e.value == nil
}

// use returns what the edit does with its slot.
func (e *edit) use() alloc.Use {
	if e.frees() {
		return alloc.Frees
	}
	return 0
}

// write carries out an edit, and makes room for it where that helps. op says what it is
// doing, for errors.
func (k *keyed) write(op string, e *edit) error {
	s := k.s
	e.to, e.hash = k.to, s.hashIn(k.to, e.key)
	for tries, round := 0, 0; ; {
		if e.verb == compute {
			s.compute(e)
		} else {
			s.writeOnce(e)
		}
		if e.failed {
			return e.err
		}
		if e.err == nil {
			return s.persist()
		}
		err := k.fail(op, e.err)
		if s.makesRoom(err, &round) {
			continue
		}
		if !e.frees() || !waitForSpace(err, tries) {
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
	w, err := s.take(alloc.Brief | e.use())
	if err != nil {
		e.err = err
		return false
	}
	w.carryOut(e)
	took = w.slot.TookReserve()
	s.a.Release(w.slot)
	return took
}

// carryOut makes a transaction of one edit.
func (w *writer) carryOut(e *edit) {
	w.slot.AllowReserve(e.frees())
	e.changed, e.err = w.lightly(func() (bool, error) { return w.commitEdit(e) })
	w.conclude(e.changed)
}

// commitEdit begins a transaction of one edit and commits it, or finds that it changes
// nothing. A lost compare-and-swap costs the branches that the winner has replaced too.
// If that is all of them, the edit is made again on the new version. A set keeps its
// leaf then, which is the first block of the transaction.
func (w *writer) commitEdit(e *edit) (committed bool, err error) {
	if err := w.begin(); err != nil {
		return false, w.abandon(err)
	}
	t, err := w.table(e.to)
	if err != nil {
		return false, w.abandon(err)
	}
	var leaf node.Leaf
	keep := uint64(0)
	if e.verb == set {
		if leaf, err = w.newLeaf(t, e.key, e.value); err != nil {
			return false, w.abandon(err)
		}
		keep = 1
	}
	changed, err := w.apply(t, e, leaf)
	for lost := 0; err == nil && changed; {
		if committed, err = w.commit(1); committed {
			return true, nil
		} else if err != nil || !w.slot.Sound() {
			break
		}
		if lost++; lost == MaxRuns && e.verb == compute {
			err = errConflict()
			break
		}
		var stands bool
		if stands, err = w.rebase(e.hash); !stands && err == nil {
			w.slot.Abort(keep)
			w.reset()
			if t, err = w.table(e.to); err == nil {
				changed, err = w.apply(t, e, leaf)
			}
		}
	}
	if e.failed { // of the user's function: no matter which
		w.slot.Abort(0)
		return false, err
	}
	return false, w.abandon(err)
}

// apply makes an edit part of a transaction, and reports whether it changes anything. t is
// the table of its map, and leaf that of a set.
func (w *writer) apply(t *table, e *edit, leaf node.Leaf) (changed bool, err error) {
	switch e.verb {
	case set:
		did, err := w.setLeaf(t, e.hash, leaf)
		return did != node.Unchanged, err
	case remove:
		e.ok, err = w.remove(t, e.hash, e.key)
		return e.ok, err
	}
	return w.applyDecision(t, e)
}

// Set makes value the value of key. Both are copied. A nil value is an empty one. If key
// has this value already, nothing is committed and the version stays; in a full store
// such a Set may be refused all the same. Sets that goroutines
// make at one time may be one commit, else each is one of its own; many keys are faster
// in one Update.
func (k *keyed) Set(key, value []byte) error {
	if err := k.s.checkSizes(k.to.extra(k.s.sums).Flags, key, value); err != nil {
		return k.fail("writing to", err)
	}
	e := edit{verb: set, key: key, value: value}
	return k.write("writing to", &e)
}

// Delete removes key and reports whether it was there. If it was not, nothing is
// written and the version stays.
func (k *keyed) Delete(key []byte) (existed bool, err error) {
	e := edit{verb: remove, key: key}
	err = k.write("deleting from", &e)
	return e.ok && err == nil, err
}

// patience is how often an operation that frees space is tried again when there is
// none for it, a millisecond later each time.
const patience = 20

// waitForSpace reports whether an operation that frees space is to be tried again:
// transactions that are under way may have the last pages, and give them back
// when they end. While it waits, the operation has none itself.
func waitForSpace(err error, tries int) bool {
	if !errors.Is(err, ErrFull) || tries == patience {
		return false
	}
	time.Sleep(time.Millisecond)
	return true
}
