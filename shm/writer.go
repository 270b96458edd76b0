package shm

import (
	"errors"

	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/hamt"
	"github.com/seed-869cc763/shmkv/node"
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
func (w *writer) found() (r hamt.Reader, root node.Ref, entries, dataBytes int64) {
	word := func(i int) int64 { return int64(w.s.rootWord(w.root.Off, i)) }
	return hamt.NewReader(w.Mem(), w.end), node.Ref(word(rootTrie)), word(rootEntries), word(rootData)
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
