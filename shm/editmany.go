package shm

import (
	"github.com/seed-869cc763/shmkv/btree"
	"github.com/seed-869cc763/shmkv/node"
)

// An Edit is a set or a delete of one key, for [TxOrdered.EditMany].
type Edit struct {
	Key, Value []byte
	Delete     bool // Value means nothing then
}

// editsAtOnce is how many edits go into the tree together.
const editsAtOnce = 256

// EditMany carries out edits as Set and Delete do, one after the other, and returns how many
// deletes have found their key. Edits in the order of their keys take less time, because those of
// neighbours change a node together. If an edit is refused the transaction is lost: Update returns
// that error if fn does not.
func (o *TxOrdered) EditMany(edits []Edit) (deleted int, err error) {
	t, err := o.flushed("writing to")
	if err != nil {
		return 0, err
	}
	tx := o.tx
	for len(edits) > 0 && tx.err == nil {
		n := min(len(edits), editsAtOnce)
		var did btree.Changed
		if did, tx.err = tx.editMany(t, edits[:n]); tx.err == nil {
			deleted += did.Deleted
			tx.changes += uint64(did.Inserted + did.Replaced + did.Deleted)
			edits = edits[n:]
		}
	}
	if tx.err != nil {
		return 0, o.fail("writing to", tx.err)
	}
	return deleted, nil
}

func (tx *Tx) editMany(t *table, edits []Edit) (did btree.Changed, err error) {
	w := tx.w
	defer func() {
		clear(w.changes) // which has the caller's keys
		w.changes = w.changes[:0]
	}()
	sets := false
	for i := range edits {
		e := &edits[i]
		sets = sets || !e.Delete
		tx.deletes, tx.sets = tx.deletes || e.Delete, tx.sets || !e.Delete
		w.slot.AllowReserve(!tx.sets)
		var leaf node.Leaf
		if !e.Delete {
			if err = w.s.checkSizes(t.to.extra(w.sums).Flags, e.Key, e.Value); err == nil {
				leaf, err = w.newLeaf(t, e.Key, e.Value)
			}
			if err != nil {
				return did, err
			}
		}
		w.changes = append(w.changes, btree.Change{Key: e.Key, Leaf: leaf})
	}
	tree := w.treeOf(t)
	did, err = tree.ChangeMany(w.changes)
	t.now = tree.Tree
	t.create = t.create || sets && err == nil
	return did, err
}
