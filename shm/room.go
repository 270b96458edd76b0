package shm

import (
	"bytes"
	"cmp"
	"errors"

	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/alloc/region"
	"github.com/seed-869cc763/shmkv/node"
)

// roomRounds bounds how often a write that finds no space makes room and is tried again.
// Each round makes room for twice as many slabs as the one before, because a large
// transaction may need many.
const roomRounds = 10

// roomPages is the number of pages that the first round tries to empty. Fewer would not
// pay, because a look at the slabs costs as much as some moves.
const roomPages = 8

// makesRoom makes space for a write that ended with ErrFull, and reports whether the write
// should be tried again. round counts the calls for one write.
func (s *Store) makesRoom(err error, round *int) bool {
	if err == nil || !errors.Is(err, ErrFull) || *round == roomRounds {
		return false
	}
	want := &alloc.NoRoom{Pages: 1}
	errors.As(err, &want)
	if want.Pages > s.a.MaxBlock()/region.PageSize {
		return false
	}
	windows := max(roomPages<<*round/want.Pages, 1)
	*round++
	// What only the last checkpoint holds can be reused after the next one, and so can what
	// was moved.
	if *round == 1 && s.newCheckpoint(roomTime) {
		return true
	}
	made := s.makeRoom(want.Pages, int(windows), want.Disk)
	return s.newCheckpoint(roomTime) || made
}

// makeRoom empties up to the given number of windows, each of pages pages, and reports
// whether it emptied any. The first pages go to the reserve, if that is not full.
func (s *Store) makeRoom(pages uint64, windows int, disk bool) bool {
	w, err := s.writer(alloc.Brief | alloc.Frees)
	if err != nil {
		return false
	}
	defer w.release()
	began := w.s.stats().LiveBytes
	// The keeper, which does the same, may have the last pages.
	for tries, again := 0, true; again; tries++ {
		_, err := w.takeApartFor(roomTime, func() error { return nil })
		if err != nil && !errors.Is(err, ErrFull) {
			return false
		}
		again = waitForSpace(err, tries)
	}
	dropped := w.s.stats().LiveBytes < began
	made, err := w.slot.MakeRoom(pages, windows, disk, uint64(s.stats().LiveBytes), w.mover())
	return (made || dropped) && err == nil
}

// moveTries bounds how often a move of a block is tried when other commits come first.
const moveTries = 16

// moveBlock moves the node in a block to another block, by a commit, and returns its leaf,
// if it is one. It reports false if the current version does not reach the block.
func (w *writer) moveBlock(off, size uint64) (moved bool, leaf node.Leaf, err error) {
	w.slot.PassGate()
	for range moveTries {
		won, err, sound := w.unpinned(1, func() (won bool, err error) {
			won, moved, leaf, err = w.tryMove(off, size)
			return won, err
		})
		switch {
		case won:
			w.s.a.Notify()
			return true, leaf, nil
		case sound && (err != nil || !moved):
			return false, node.Leaf{}, err
		}
	}
	return false, node.Leaf{}, nil
}

// tryMove makes one attempt. It decides on the version that it builds on, so the decision
// holds if the commit wins.
func (w *writer) tryMove(off, size uint64) (won, moved bool, leaf node.Leaf, err error) {
	defer w.slot.End()
	if err = w.begin(); err == nil {
		// Any commit moves the root node.
		if moved = off == w.at.Off; !moved {
			for _, lead := range w.leads(off, size) {
				if moved, leaf, err = w.follow(lead, off); moved || err != nil {
					break
				}
			}
		}
	}
	if moved && err == nil {
		won, err = w.commit(0)
	}
	if !won {
		w.slot.Abort(0)
	}
	return won, moved, leaf, err
}

// A lead is the key of an entry in a block or below it, and the hash of its map's name. All
// of it may be garbage.
type lead struct {
	key   []byte
	extra node.Extra
}

// leads returns the entries by which a block may be reached.
func (w *writer) leads(off, size uint64) (leads []lead) {
	r := w.taken()
	note := func(l node.Leaf) {
		leads = append(leads, lead{r.Mem.AppendTo(nil, l.KeyOff(), l.KeyLen()), r.Extra(l)})
	}
	faulted := guarded(func() {
		for _, l := range w.trie.Leads(nil, off, size) {
			note(l)
		}
		if l, ok := w.treeOf(&table{}).LeafBelow(off, size); ok {
			note(l)
		}
	})
	if faulted {
		return nil // the block was freed, and its memory with it
	}
	return leads
}

// follow moves the node at off if it is on the path of a lead. Dropped maps are not moved:
// they are about to be deleted.
func (w *writer) follow(on lead, off uint64) (moved bool, leaf node.Leaf, err error) {
	h := w.s.hashOf(on.key)
	switch on.extra {
	case node.Extra{}:
		return w.moveIn(&w.unnamed, h, on.key, off)
	case directoryExtra:
		for _, trie := range []*node.Ref{&w.root.directory, &w.root.dropped} {
			if moved, _, err = w.recordsOf(*trie).Move(off, h); moved || err != nil {
				*trie = w.trie.Root
				return moved, node.Leaf{}, err
			}
		}
		return false, node.Leaf{}, nil
	}
	r := w.taken()
	var failed error
	err = r.AtHash(w.root.directory, on.extra.Map, func(l node.Leaf) bool {
		name := bytes.Clone(r.Key(l))
		if w.s.hashOf(name) != on.extra.Map {
			return true // the path of a hash may lead to a record of another one
		}
		record, err := readRecord(r.Reader, l)
		if err == nil {
			to := &target{name, on.extra.Map, record.kind}
			var t *table
			if t, err = w.table(to); err == nil {
				moved, leaf, err = w.moveIn(t, h, on.key, off)
			}
		}
		failed = err
		return !moved && err == nil
	})
	return moved, leaf, cmp.Or(err, failed)
}

// moveIn moves the node at off if it is on the path of key, whose hash is h, in a map.
func (w *writer) moveIn(t *table, h uint64, key []byte, off uint64) (moved bool, leaf node.Leaf, err error) {
	if t.to.ordered() {
		tx := w.treeOf(t)
		moved, leaf, err = tx.Move(off, key)
		t.now = tx.Tree
	} else {
		tx := w.trieOf(t)
		moved, leaf, err = tx.Move(off, h)
		t.now = tx.Tree
	}
	return moved, leaf, err
}
