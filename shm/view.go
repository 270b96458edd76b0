package shm

import (
	"github.com/seed-869cc763/shmkv/btree"
	"github.com/seed-869cc763/shmkv/hamt"
	"github.com/seed-869cc763/shmkv/node"
)

// A view is a map that can be looked up in: of a version, or of a transaction.
type view struct {
	r       hamt.Reader
	tree    node.Tree
	ordered bool // the map is a KindOrdered
}

// btree returns a reader of an ordered map.
func (v view) btree() btree.Reader { return btree.Reader{Reader: v.r.Reader} }

// lookUp returns the leaf of key, whose hash is h. The view may change meanwhile, if the
// caller finds out afterwards.
func (v view) lookUp(h uint64, key []byte) (node.Leaf, node.Status) {
	if v.ordered {
		return v.btree().Find(v.tree.Root, key)
	}
	return v.r.Find(v.tree.Root, h, key)
}

// find returns the leaf of key, whose hash is h, or ErrNotFound, or the damage that it
// met on the way. The view must hold still.
func (v view) find(h uint64, key []byte) (node.Leaf, error) {
	l, status := v.lookUp(h, key)
	return l, v.outcome(status, h, key)
}

// outcome returns the error of a lookup.
func (v view) outcome(status node.Status, h uint64, key []byte) error {
	switch status {
	case node.Present:
		return nil
	case node.Absent:
		return ErrNotFound
	}
	return damage(v.explain(h, key))
}

// explain returns the damage on the way to key, or nil.
func (v view) explain(h uint64, key []byte) error {
	if v.ordered {
		return v.btree().Explain(v.tree.Root, key)
	}
	return v.r.Explain(v.tree.Root, h, key)
}

// walk visits the entries of a scan, until visit returns false.
func (v view) walk(s scan, visit func(node.Leaf) bool) error {
	switch {
	case !v.ordered && s.pos != 0:
		return v.r.WalkFrom(v.tree.Root, s.pos, visit)
	case !v.ordered:
		return v.r.Walk(v.tree.Root, visit)
	case s.backward:
		return v.btree().Backward(v.tree.Root, s.from, s.to, visit)
	}
	return v.btree().Range(v.tree.Root, s.from, s.to, visit)
}

// damage returns the error of a lookup that found damage, explained or not.
func damage(explained error) error {
	if explained == nil {
		return ErrCorrupt
	}
	return explained
}
