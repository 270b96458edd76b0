package shm

import (
	"errors"

	"github.com/seed-869cc763/shmkv/node"
)

// errOvertaken: another commit has changed the same children of the root as a group.
var errOvertaken = errors.New("the group was overtaken")

// group carries out requests in one transaction. After an error the caller aborts the
// transaction, and the outcomes mean nothing.
func (w *writer) group(l *lane, group []*request) (committed bool, err error) {
	if err := w.begin(); err != nil {
		return false, err
	}
	named, allFree := group[0].to != nil, true
	l.hashes = l.hashes[:0]
	for _, r := range group {
		l.hashes = append(l.hashes, r.hash)
		allFree = allFree && r.frees()
	}
	if !named && w.unnamed.now.Entries >= warmFrom {
		w.trie.Warm(l.hashes)
	}
	w.slot.AllowReserve(allFree)
	changes := uint64(0)
	for _, r := range group {
		if r.changed, r.err = w.applyShared(&r.edit); r.err != nil {
			return false, r.err
		}
		if r.changed {
			changes++
		}
	}
	if changes == 0 {
		w.slot.Abort(0)
		return false, nil
	}
	if !named {
		if err := w.trie.Seal(l.hashes); err != nil {
			return false, err
		}
		w.unnamed.now = w.trie.Tree
	}
	for {
		won, err := w.commit(changes)
		if won || err != nil {
			return won, err
		}
		switch {
		case !w.slot.Sound():
			return false, nil
		case named:
			return false, errOvertaken
		}
		if ok, err := w.rebaseMany(); err != nil {
			return false, err
		} else if !ok {
			return false, errOvertaken
		}
	}
}

// applyShared makes an edit part of a group. A group that fails is given up as a whole,
// so it need not keep leaves.
func (w *writer) applyShared(e *edit) (changed bool, err error) {
	t, err := w.table(e.to)
	if err != nil {
		return false, err
	}
	var leaf node.Leaf
	if e.verb == set {
		if leaf, err = w.newLeaf(t, e.key, e.value); err != nil {
			return false, err
		}
	}
	return w.apply(t, e, leaf)
}
