package shm

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/node"
)

// Action is the decision of a function of [Store.Compute] about its entry.
type Action uint8

// What a function of Compute can decide.
const (
	ActionKeep   Action = iota // leave the entry as it is, or absent
	ActionSet                  // give it the value that the function returns
	ActionDelete               // delete it
)

// A decision is the function of a conditional write. It is called with the present value of
// the key, and again if another commit came first. old is valid during the call only.
type decision func(old []byte, exists bool) (value []byte, do Action, err error)

// Compute calls fn with the value of key, and does what fn decides, in one step that no
// other commit comes between. A nil value with ActionSet is an empty one. After an error
// of fn, which Compute returns as it is, nothing is changed. A decision that changes
// nothing makes no commit.
//
// old is memory of the store, or a copy: it is valid in fn only, and must not be written to.
// fn may run again: when another commit came first, at most MaxRuns times (ErrConflict), when
// the store has reused memory that was read, or when room was made for its value in a full
// store. So it should do nothing but compute. It may read the store, and must not write to
// it (ErrNested). A panic in fn changes nothing.
func (k *keyed) Compute(key []byte, fn func(old []byte, exists bool) (value []byte, do Action, err error)) error {
	e := edit{verb: compute, key: key, decide: fn}
	return k.write("writing to", &e)
}

// compute carries out an edit that runs code of the user.
func (s *Store) compute(e *edit) {
	w, err := s.writer(alloc.Frees)
	if err != nil {
		e.err = err
		return
	}
	e.changed = false
	done := false
	defer func() {
		if !done { // the function has panicked
			w.slot.Abort(0)
		}
		w.end(e.changed)
	}()
	s.functions.enter()
	defer s.functions.leave()
	e.changed, e.err = w.lightly(func() (bool, error) { return w.commitEdit(e) })
	done = true
}

// applyDecision calls the decision of an edit and makes its action part of the transaction.
func (w *writer) applyDecision(t *table, e *edit) (changed bool, err error) {
	e.did, e.failed = ActionKeep, false
	v := w.view(t)
	l, err := v.find(e.hash, e.key)
	exists := err == nil
	if err != nil && err != ErrNotFound {
		return false, err
	}
	var old []byte
	if exists {
		old = v.r.Value(l)
		if w.light { // a decision must not see how the memory is reused
			if len(old) > copiedMost {
				return false, errNeedsPin
			}
			w.old = v.r.Mem.AppendTo(w.old[:0], l.ValueOff(), l.ValueLen())
			old = w.old
		}
	}
	if !w.slot.Sound() {
		return false, nil // what the decision allocates must not be as long as garbage says (rule R2)
	}
	value, do, err := e.decide(old, exists)
	if err != nil {
		e.failed = true
		return false, err
	}
	if do == ActionSet {
		if err := w.s.checkSizes(e.to.extra(w.sums).Flags, e.key, value); err != nil {
			return false, err
		}
	}
	e.did = do
	if e.verb == compute {
		w.slot.AllowReserve(do == ActionDelete)
	}
	switch do {
	case ActionKeep:
	case ActionSet:
		var did node.Effect
		did, err = w.set(t, e.hash, e.key, value)
		changed = did != node.Unchanged
	case ActionDelete:
		if exists {
			changed, err = w.remove(t, e.hash, e.key)
		}
	default:
		err = fmt.Errorf("a function of Compute returned the action %d, expected ActionKeep, ActionSet or ActionDelete", do)
	}
	return changed, err
}

// copiedMost is the longest value that a light transaction copies for a decision.
const copiedMost = 16 << 10

// conditional is the decision of a swap or a compareAndSwap.
func (e *edit) conditional(was []byte, exists bool) ([]byte, Action, error) {
	if e.verb == swap {
		e.was, e.ok = nil, exists
		if exists {
			e.was = append([]byte{}, was...)
		}
	} else if e.ok = exists == (e.old != nil) && bytes.Equal(was, e.old); !e.ok {
		return nil, ActionKeep, nil
	}
	if e.value == nil {
		return nil, ActionDelete, nil
	}
	return e.value, ActionSet, nil
}

// Swap makes value the value of key, and returns the old value, copied. A nil value means
// absent: key is deleted.
func (k *keyed) Swap(key, value []byte) (old []byte, existed bool, err error) {
	e := &edit{verb: swap, key: key, value: value}
	e.decide = e.conditional
	if err := k.write("writing to", e); err != nil {
		return nil, false, err
	}
	return e.was, e.ok, nil
}

// CompareAndSwap replaces the value old of key by new and reports whether key had that
// value. nil means absent: as old, the key must not be there; as new, it is deleted.
func (k *keyed) CompareAndSwap(key, old, new []byte) (swapped bool, err error) {
	e := &edit{verb: compareAndSwap, key: key, value: new, old: old}
	e.decide = e.conditional
	err = k.write("writing to", e)
	return e.ok && err == nil, err
}

// Modify is Compute for a function that cannot fail: with keep, new becomes the value of
// key, and without it key is deleted.
func (k *keyed) Modify(key []byte, fn func(old []byte, exists bool) (new []byte, keep bool)) error {
	return k.Compute(key, func(old []byte, exists bool) ([]byte, Action, error) {
		if value, keep := fn(old, exists); keep {
			return value, ActionSet, nil
		}
		return nil, ActionDelete, nil
	})
}

// ErrNotNumber: Add to a value that is not a decimal number of 64 bits.
var ErrNotNumber = errors.New("not a decimal number of 64 bits")

// ErrRange: Add with a sum that 64 bits cannot hold.
var ErrRange = errors.New("the sum is out of range")

// Add adds n to the number that the value of key is, in decimal, and returns the sum. An
// absent key counts as 0. After an error, of ErrNotNumber or ErrRange for one, nothing is
// changed.
func (k *keyed) Add(key []byte, n int64) (sum int64, err error) {
	err = k.Compute(key, func(old []byte, exists bool) ([]byte, Action, error) {
		sum = 0
		if exists {
			if sum, err = strconv.ParseInt(string(old), 10, 64); err != nil {
				return nil, ActionKeep, k.fail("adding in", fmt.Errorf("%w: found %.40q", ErrNotNumber, old))
			}
		}
		if n > 0 && sum > math.MaxInt64-n || n < 0 && sum < math.MinInt64-n {
			return nil, ActionKeep, k.fail("adding in", fmt.Errorf("%w: found %d and %d", ErrRange, sum, n))
		}
		sum += n
		return strconv.AppendInt(nil, sum, 10), ActionSet, nil
	})
	if err != nil {
		return 0, err
	}
	return sum, nil
}
