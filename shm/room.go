package shm

import (
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
	return s.makeRoom(want.Pages, int(windows), want.Disk)
}

// makeRoom empties up to the given number of windows, each of pages pages, and reports
// whether it emptied any. The first pages go to the reserve, if that is not full.
func (s *Store) makeRoom(pages uint64, windows int, disk bool) bool {
	w, err := s.writer(alloc.Brief | alloc.Frees)
	if err != nil {
		return false
	}
	defer w.release()
	made, err := w.slot.MakeRoom(pages, windows, disk, uint64(s.stats().LiveBytes), w.mover())
	return made && err == nil
}

// moveTries bounds how often a move of a block is tried when other commits come first.
const moveTries = 16

// moveBlock moves the node in a block to another block, by a commit, and returns its leaf,
// if it is one. It reports false if the current version does not reach the block.
func (w *writer) moveBlock(off, size uint64) (moved bool, leaf node.Leaf, err error) {
	w.slot.PassGate()
	for range moveTries {
		var won bool
		if won, moved, leaf, err = w.tryMove(off, size); won {
			w.s.a.Notify()
			return true, leaf, nil
		}
		if err != nil || !moved {
			return false, node.Leaf{}, err
		}
	}
	return false, node.Leaf{}, nil
}

// tryMove makes one attempt. It decides on the version that it pins, so the decision holds
// if the commit wins.
func (w *writer) tryMove(off, size uint64) (won, moved bool, leaf node.Leaf, err error) {
	defer w.slot.End()
	if err = w.begin(); err == nil {
		// Any commit moves the root node.
		if moved = off == w.at.Off; !moved {
			var hs []uint64
			if guarded(func() { hs = w.tx.Leads(nil, off, size) }) {
				hs = nil // the block was freed, and its memory with it
			}
			moved, leaf, err = w.tx.Move(off, hs)
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
