package shm

import (
	"fmt"
	"sync/atomic"

	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/alloc/region"
	"github.com/seed-869cc763/shmkv/btree"
	"github.com/seed-869cc763/shmkv/hamt"
	"github.com/seed-869cc763/shmkv/node"
)

// keyed is the calls on the keys of a map. A Store has those of its unnamed map.
type keyed struct {
	s  *Store
	a  *alloc.Arena // of s
	to *target

	// Of a named map, what its record says in a version that was read before. Most reads
	// meet the version of the read before, and need not look the name up again.
	known  atomic.Pointer[knownTree]
	missed atomic.Uint64 // the version of the last read that had to
}

// A knownTree is the tree of a map in a version.
type knownTree struct {
	version uint64
	tree    node.Tree
}

// fail wraps an error with the operation, the map and the store.
func (k *keyed) fail(op string, err error) error { return k.s.fail(k.to.op(op), err) }

// viewAt returns the map in the version whose root node is at off. That may be garbage, if
// the caller finds out afterwards. The view of a map that is not there is empty.
func (to *target) viewAt(mem region.Mem, end, off uint64) (view, error) {
	v := view{r: hamt.NewReader(mem, end), ordered: to.ordered()}
	if to == nil {
		v.tree = readRoot(mem, off).unnamed
		return v, nil
	}
	record, _, err := to.record(v.r, directoryAt(mem, off))
	v.tree = record.Tree
	return v, err
}

// lookUpNamed looks up a key of a named map, as of a stamp. If the record of the map cannot
// be read, it reports damage.
func (k *keyed) lookUpNamed(r hamt.Reader, g alloc.Stamp, h uint64, key []byte) (node.Leaf, node.Status) {
	tree, ok := k.treeAt(r, g)
	switch {
	case !ok:
		return node.Leaf{}, node.Damaged
	case k.to.kind == KindOrdered:
		return btree.Reader{Reader: r.Reader}.Find(tree.Root, key)
	}
	return r.Find(tree.Root, h, key)
}

// treeAt returns the tree of a named map, as of a stamp.
func (k *keyed) treeAt(r hamt.Reader, g alloc.Stamp) (tree node.Tree, ok bool) {
	version := k.a.VersionOf(g)
	if known := k.known.Load(); known != nil && known.version == version {
		return known.tree, true
	}
	if tree, ok = k.to.treeIn(r, directoryAt(r.Mem, g.Root())); !ok || !k.a.Valid(g) {
		return tree, ok
	}
	// Beside a writer that is faster than the reads, remembering would only cost.
	if k.missed.Load() == version {
		k.known.Store(&knownTree{version, tree})
	} else {
		k.missed.Store(version)
	}
	return tree, true
}

// A hold tells whether a view still means something. The zero hold is that of a pinned
// version.
type hold struct {
	a *alloc.Arena
	g alloc.Stamp
}

func (h hold) valid() bool { return h.a == nil || h.a.Valid(h.g) }

// look calls read with the map as it is in the current version. At first it does so without
// a pin. Then the view may be garbage, and read is called again if it was. read must not
// allocate what a length in the view says before the hold is valid (rule R2). An error of
// read may be ErrNotFound.
func (k *keyed) look(read func(v view, h hold) error) error {
	for range optimisticTries {
		err, valid := k.tryLook(read)
		if !valid {
			k.s.repeated.Add(1)
			continue
		}
		if err == nil || err == ErrNotFound {
			return err
		}
		break
	}
	switch {
	case k.a.Closed():
		return k.fail("reading", ErrClosed)
	case k.a.CanPin():
		return k.s.View(func(sn *Snapshot) error {
			v := sn.of(k.to)
			return v.read(func(v view) error { return read(v, hold{}) })
		})
	}
	for range readOnlyTries {
		err, valid := k.tryLook(read)
		switch {
		case !valid:
			k.s.repeated.Add(1)
			continue
		case err == nil || err == ErrNotFound:
			return err
		}
		return k.fail("reading", err)
	}
	return k.fail("reading", errTooFast)
}

// tryLook is one try of look without a pin. Unless valid, its error means nothing.
func (k *keyed) tryLook(read func(v view, h hold) error) (err error, valid bool) {
	g, ok := k.a.Stamp()
	if !ok {
		_, err := k.a.Limit()
		return damage(err), true
	}
	h := hold{k.a, g}
	if !k.a.Punched() {
		err = k.lookAt(h, read)
	} else if guarded(func() { err = k.lookAt(h, read) }) {
		err = errNoMemory
	}
	return err, h.valid()
}

func (k *keyed) lookAt(h hold, read func(v view, h hold) error) error {
	v, err := k.viewOf(h.g)
	if err != nil {
		return err
	}
	return read(v, h)
}

// viewOf is viewAt for a stamp.
func (k *keyed) viewOf(g alloc.Stamp) (view, error) {
	if k.to != nil {
		r := hamt.NewReader(k.a.Mem(), g.End())
		if tree, ok := k.treeAt(r, g); ok {
			return view{r, tree, k.to.kind == KindOrdered}, nil
		}
	}
	return k.to.viewAt(k.a.Mem(), g.End(), g.Root())
}

var errTooFast = fmt.Errorf("%w, and writers were too fast for a read without a pin", ErrCannotPin)

// Len returns the number of entries. It is 0 after Close, and for a map of another kind.
func (k *keyed) Len() int {
	if k.to == nil {
		root, _, _ := k.s.rootNow()
		return int(root.unnamed.Entries)
	}
	n := int64(0)
	_ = k.look(func(v view, _ hold) error {
		n = v.tree.Entries
		return nil
	})
	return int(n)
}
