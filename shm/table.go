package shm

import (
	"github.com/seed-869cc763/shmkv/btree"
	"github.com/seed-869cc763/shmkv/hamt"
	"github.com/seed-869cc763/shmkv/node"
)

// A table is a map that a transaction uses. A transaction of hash maps goes through one
// hamt.Tx, and one of ordered maps through one btree.Tx; a table is what differs.
type table struct {
	to     *target   // nil: the unnamed map
	was    node.Tree // in the version that the transaction builds on
	now    node.Tree // as the transaction has changed it
	there  bool      // that version has the map
	create bool      // the map is to be there, even without entries: it has had one
}

// openTables are the named maps that a transaction uses.
type openTables struct {
	all    []*table
	byName map[string]*table // nil until the transaction has asked for a second table
	spare  []*table          // of former transactions, to be used again
}

const spareTables = 64

// reset forgets the tables of the former transaction.
func (ts *openTables) reset() {
	if len(ts.all) > 0 {
		n := min(len(ts.all), spareTables-len(ts.spare))
		ts.spare = append(ts.spare, ts.all[:n]...)
		clear(ts.all)
		ts.all, ts.byName = ts.all[:0], nil
	}
}

// find returns the table of a name, or nil.
func (ts *openTables) find(name []byte) *table {
	if ts.byName == nil {
		ts.byName = map[string]*table{}
		for _, t := range ts.all {
			ts.byName[string(t.to.name)] = t
		}
	}
	return ts.byName[string(name)]
}

// add adds an empty table.
func (ts *openTables) add(to *target) *table {
	var t *table
	if n := len(ts.spare); n > 0 {
		t, ts.spare = ts.spare[n-1], ts.spare[:n-1]
	} else {
		t = new(table)
	}
	*t = table{to: to}
	ts.all = append(ts.all, t)
	if ts.byName != nil {
		ts.byName[string(to.name)] = t
	}
	return t
}

// table returns the transaction's table of a map.
func (w *writer) table(to *target) (*table, error) {
	if to == nil {
		return &w.unnamed, nil
	}
	if len(w.tables.all) > 0 {
		if t := w.tables.find(to.name); t != nil {
			return t, w.mayBe(t, to)
		}
	}
	record, there, err := to.record(w.trie.Reader(), w.root.directory)
	if err != nil {
		return nil, err
	}
	t := w.tables.add(to)
	t.was, t.now, t.there = record.Tree, record.Tree, there
	return t, nil
}

// mayBe makes t a table of to. It returns ErrKind if it is one of the other kind.
func (w *writer) mayBe(t *table, to *target) error {
	if t.to.kind != to.kind {
		if t.exists() || w.pending.n > 0 && w.pending.table == t {
			return errKind(to.name, t.to.kind, to.kind)
		}
		t.to = to
	}
	return nil
}

// exists reports whether the transaction has the map.
func (t *table) exists() bool { return t.there || t.create || t.now.Root != 0 }

// trieOf makes the writer's hamt.Tx go on with t, a hash map. After a change the caller
// stores its Tree in t.
func (w *writer) trieOf(t *table) *hamt.Tx {
	if w.inTrie != t {
		w.trie.Tree, w.trie.Extra = t.now, t.to.extra(w.sums)
		w.inTrie = t
	}
	return &w.trie
}

// recordsOf makes the writer's hamt.Tx go on with a trie of records.
func (w *writer) recordsOf(trie node.Ref) *hamt.Tx {
	w.trie.Tree, w.trie.Extra = node.Tree{Root: trie}, directoryExtra
	w.inTrie = nil
	return &w.trie
}

// treeOf makes the writer's btree.Tx go on with t, an ordered map, as trieOf does.
func (w *writer) treeOf(t *table) *btree.Tx {
	if !w.ordered {
		w.tree.Reset(btree.Reader{Reader: w.taken().Reader}, w.slot, node.Tree{})
		w.tree.KeepLeaves, w.ordered = w.trie.KeepLeaves, true
	}
	w.tree.Tree, w.tree.Extra = t.now, t.to.extra(w.sums)
	return &w.tree
}

// setSums makes the leaves that newLeaf allocates from now on, in this transaction, have a
// checksum if sums is node.HasSum, and none if it is 0.
func (w *writer) setSums(sums uint64) {
	if w.sums != sums {
		w.sums, w.inTrie = sums, nil // so that trieOf sets the flags
	}
}

// newLeaf allocates a leaf for t.
func (w *writer) newLeaf(t *table, key, value []byte) (node.Leaf, error) {
	if t.to.ordered() {
		return w.treeOf(t).NewLeaf(key, value)
	}
	return w.trieOf(t).NewLeaf(key, value)
}

// setLeaf makes leaf, which newLeaf has returned, the entry of its key, whose hash is h. From
// then on the map is there, even if the transaction deletes the entry again: a group of
// edits leaves what they leave one by one.
func (w *writer) setLeaf(t *table, h uint64, leaf node.Leaf) (did node.Effect, err error) {
	if t.to.ordered() {
		tx := w.treeOf(t)
		_, did, err = tx.SetLeaf(leaf)
		t.now = tx.Tree
	} else {
		tx := w.trieOf(t)
		_, did, err = tx.SetLeaf(h, leaf)
		t.now = tx.Tree
	}
	t.create = t.create || err == nil
	return did, err
}

// set sets key, whose hash is h, as setLeaf does.
func (w *writer) set(t *table, h uint64, key, value []byte) (did node.Effect, err error) {
	leaf, err := w.newLeaf(t, key, value)
	if err != nil {
		return node.Unchanged, err
	}
	if did, err = w.setLeaf(t, h, leaf); err != nil {
		w.slot.Discard(leaf.Off, leaf.Size())
	}
	return did, err
}

// remove deletes key, whose hash is h.
func (w *writer) remove(t *table, h uint64, key []byte) (existed bool, err error) {
	if t.to.ordered() {
		tx := w.treeOf(t)
		_, existed, err = tx.Delete(key)
		t.now = tx.Tree
	} else {
		tx := w.trieOf(t)
		_, existed, err = tx.Delete(h, key)
		t.now = tx.Tree
	}
	return existed, err
}

// walk visits the entries of a scan of t as they are now. visit may change t.
func (w *writer) walk(t *table, s scan, visit func(node.Leaf) bool) error {
	v := w.view(t)
	walk := func() error { return v.walk(s, visit) }
	if t.to.ordered() {
		return w.treeOf(t).Walk(walk)
	}
	return w.trieOf(t).Walk(walk)
}

// view returns t as it is now, read through the read-only mapping.
func (w *writer) view(t *table) view {
	end, _ := w.s.a.Limit()
	return view{hamt.NewReader(w.s.a.Mem(), end), t.now, t.to.ordered()}
}

// finish ends the changes of the transaction: it writes the records of named maps, and
// makes w.root and the payload those of the root node that shows them.
func (w *writer) finish() error {
	made := &w.root
	made.digest += w.unnamed.now.Digest
	for _, t := range w.tables.all {
		made.digest += t.now.Digest
		if t.now == t.was && (t.there || !t.create) || !t.exists() {
			continue
		}
		if _, err := w.setRecord(&made.directory, t.to.hash, t.to.name, mapRecord{t.to.kind, t.now}); err != nil {
			return err
		}
		made.named.entries += t.now.Entries - t.was.Entries
		made.named.dataBytes += t.now.DataBytes - t.was.DataBytes
	}
	w.trie.Finish()
	if w.ordered {
		w.tree.Finish()
	}
	made.unnamed = w.unnamed.now
	made.liveBytes += w.slot.Delta()
	made.encode(&w.payload)
	return nil
}

// setRecord writes a record into a trie of records.
func (w *writer) setRecord(trie *node.Ref, h uint64, key []byte, record mapRecord) (did node.Effect, err error) {
	_, did, err = w.recordsOf(*trie).Set(h, key, record.encode(&w.record, len(key)))
	*trie = w.trie.Root
	return did, err
}
