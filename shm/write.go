package shm

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/hamt"
)

// writer is a slot with what one transaction needs beside it.
type writer struct {
	*alloc.Slot
	s    *Store
	tx   hamt.Tx
	root alloc.Root // that is pinned
	end  uint64     // of what may be touched from there
	live uint64     // bytes of blocks, once it is committed
	use  alloc.User // from writer to release

	light   bool // transactions begin without a pin
	guarded bool // and a fault in one is caught

	pending pendingSets // of an Update
}

// writer enters the handle and takes a slot, for release to give back. brief promises
// not to run the user's code in between; frees says that the transaction may free more
// than it takes.
func (s *Store) writer(brief, frees bool) (*writer, error) {
	u, ok := s.a.Enter()
	if !ok {
		return nil, ErrClosed
	}
	w, err := s.take(brief, frees)
	if err == nil && s.functions.running() {
		s.a.Release(w.Slot)
		err = ErrNested
	}
	if err != nil {
		s.a.Leave(u)
		return nil, err
	}
	w.use = u
	return w, nil
}

// take takes a slot for a caller that has entered the handle.
func (s *Store) take(brief, frees bool) (*writer, error) {
	slot, err := s.a.Slot(brief, frees)
	if err != nil {
		return nil, err
	}
	w, _ := slot.Scratch.(*writer)
	if w == nil {
		w = &writer{Slot: slot}
		slot.Scratch = w
	}
	w.s, w.light = s, false
	slot.PassGate()
	return w, nil
}

// release gives the slot back. The writer may be another goroutine's at once.
func (w *writer) release() {
	a, u := w.s.a, w.use
	a.Release(w.Slot)
	a.Leave(u)
}

// begin starts a transaction upon the current version.
func (w *writer) begin() error {
	if err := w.take(); err != nil {
		return err
	}
	w.reset()
	return nil
}

// take takes the current version as the one to build upon, and pins it unless the
// transaction is light.
func (w *writer) take() (err error) {
	if w.light {
		w.root, err = w.BeginLight()
	} else {
		w.root, err = w.Begin()
	}
	if err != nil {
		return err
	}
	if w.end, err = w.s.a.Limit(); err != nil {
		w.End()
		return err
	}
	if w.light && !w.guarded && w.s.a.Punched() {
		return errUnguarded
	}
	return nil
}

// errUnguarded: there are holes in the file, and a light transaction may be led to one.
var errUnguarded = errors.New("there are holes since now")

// lightly carries out a transaction of one key that ends at once: try begins it and
// commits it, or finds that there is nothing to commit. First it is light. If what it
// has read was reused meanwhile, whatever came of it means nothing. Then it is carried
// out again, and at last under a pin.
func (w *writer) lightly(try func() (committed bool, err error)) (committed bool, err error) {
	w.light, w.guarded = true, w.s.a.Punched()
	for range lightTries {
		if w.guarded {
			if guarded(func() { committed, err = try() }) {
				committed, err = false, errUnguarded // a pin tells whether it is damage
			}
		} else {
			committed, err = try()
		}
		if committed || err != errUnguarded && w.Sound() {
			w.light = false
			return committed, err
		}
		w.Abort(0)
		w.End()
		w.guarded = true
	}
	w.light = false
	return try()
}

// lightTries is how often a transaction is tried without a pin.
const lightTries = 3

// reset makes the transaction one upon the version that is pinned.
func (w *writer) reset() {
	r, root, entries, dataBytes := w.found()
	w.tx.Reset(r, w.Slot, w.s.hash, root, entries, dataBytes)
}

// found is what the version that is pinned holds.
func (w *writer) found() (r hamt.Reader, root hamt.Ref, entries, dataBytes int64) {
	word := func(i int) int64 { return int64(w.s.rootWord(w.root.Off, i)) }
	return hamt.NewReader(w.Mem(), w.end), hamt.Ref(word(rootTrie)), word(rootEntries), word(rootData)
}

// rebase brings a transaction that changed one key, of hash h, and that was
// overtaken, to the version that is current now. It reports false if the change
// has to be made anew upon that: all is allocated still.
func (w *writer) rebase(h uint64) (bool, error) {
	was := w.root.Version
	if err := w.take(); err != nil {
		return false, err
	}
	r, root, entries, dataBytes := w.found()
	return w.tx.Rebase(r, root, entries, dataBytes, h, was)
}

// commit publishes the transaction, of so many changes. If another commit came
// first, it returns false, and the transaction is still there to be aborted.
func (w *writer) commit(changes uint64) (bool, error) {
	if w.light {
		w.PassGate() // it may have been closed since; nothing is pinned
	}
	w.tx.Finish()
	w.live = w.s.rootWord(w.root.Off, rootLive) + uint64(w.Delta())
	won, err := w.Commit([alloc.PayloadWords]uint64{
		rootEntries: uint64(w.tx.Entries),
		rootLive:    w.live,
		rootData:    uint64(w.tx.DataBytes),
		rootTrie:    uint64(w.tx.Root),
	})
	if won {
		w.CountChanges(changes)
	}
	return won, err
}

// conclude ends a transaction that was committed, or given up and aborted.
func (w *writer) conclude(committed bool) {
	w.End()
	if committed {
		w.s.a.Notify()
		w.Tidy()
		w.s.keeper.wake(w.s)
	}
}

// finish ends a transaction and gives the slot back.
func (w *writer) finish(committed bool) {
	w.conclude(committed)
	s, took := w.s, w.TookReserve()
	w.release()
	if took {
		s.makeRoom(1, 1, false)
	}
}

// checkSizes refuses what no format or no store of this MaxSize can hold.
func (s *Store) checkSizes(key, value []byte) error {
	if len(key) > MaxKey {
		return fmt.Errorf("%w: found a key of %d bytes, expected at most %d", ErrTooLarge, len(key), MaxKey)
	}
	if uint64(len(value)) > MaxValue {
		return fmt.Errorf("%w: found a value of %d bytes, expected at most %d", ErrTooLarge, len(value), uint64(MaxValue))
	}
	l := hamt.Leaf{KeyLen: uint32(len(key)), ValueLen: uint32(len(value))}
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
	if status == hamt.Damaged {
		return leave, damage(r.Explain(w.tx.Root, h, key))
	}
	var old []byte
	if status == hamt.Present {
		old = r.Value(l)
	}
	if !w.Sound() {
		return leave, nil // what decide allocates must not be as long as garbage says (rule R2)
	}
	value, c, err := decide(old, status == hamt.Present)
	if err == nil && c == put {
		err = w.s.checkSizes(key, value)
	}
	if err != nil || c == leave || c == drop && status == hamt.Absent {
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
