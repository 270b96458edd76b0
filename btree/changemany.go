package btree

import (
	"bytes"

	"github.com/seed-869cc763/shmkv/node"
)

// A Change is a set or a delete of one key, for ChangeMany.
type Change struct {
	Key []byte
	// Leaf becomes the entry of Key, as with SetLeaf. The zero Leaf deletes the entry.
	Leaf node.Leaf
}

// Changed is how many changes had an effect, by the effect.
type Changed struct{ Inserted, Replaced, Deleted int }

// ChangeMany carries out changes one after the other, with the results that SetLeaf and
// Delete have. It takes less time for each if they are in the order of their keys: changes
// of one bottom node that follow each other take one descent, and one copy of the node.
//
// After an error some of the changes are made, and the transaction must be given up.
func (t *Tx) ChangeMany(changes []Change) (did Changed, err error) {
	for len(changes) > 0 {
		n, err := t.changeRun(changes, &did)
		if err != nil {
			return did, err
		}
		changes = changes[n:]
	}
	return did, nil
}

// changeRun carries out the first changes, as many as one bottom node takes. It returns
// their number.
func (t *Tx) changeRun(changes []Change, did *Changed) (n int, err error) {
	t.beginChange()
	if t.Root != 0 {
		if _, err := t.r.seek(t.Root, changes[0].Key, &t.path); err != nil {
			return 0, err
		}
	}
	// The first key of a tree, and one that lacks bytes that nodes skip, go their own way.
	if t.Root == 0 || t.path.lowest < maxDepth {
		return 1, t.changeOne(changes[0], did)
	}
	b := t.path.bottom().tnode
	a := t.draft[0].reset(false, b.skip)
	a.add(t.r, b)
	t.added, t.dropped = t.added[:0], t.dropped[:0]
	before := *did
	for n < len(changes) && a.n <= 2*maxBottom-1 {
		c := changes[n]
		if n > 0 && !agree(c.Key, changes[0].Key, b.skip) {
			break
		}
		h := headOf(c.Key, b.skip)
		i, old, found, err := a.position(t.r, h, c.Key)
		if err != nil {
			return 0, err
		}
		// Whether a key belongs to this node is certain if it is between two of its keys.
		if n > 0 && !found && (i == 0 || i == a.n) {
			break
		}
		switch n++; {
		case c.Leaf == (node.Leaf{}):
			if found {
				a.remove(i)
				t.dropped = append(t.dropped, old)
				did.Deleted++
			}
		case !found:
			a.insert(i, h, node.MakeRef(node.KindLeaf, c.Leaf.Off, 0), 1)
			t.added = append(t.added, c.Leaf)
			did.Inserted++
		case t.sameValue(old, c.Leaf):
			t.DropLeaf(c.Leaf)
		default:
			a.refs[i] = node.MakeRef(node.KindLeaf, c.Leaf.Off, 0)
			t.added, t.dropped = append(t.added, c.Leaf), append(t.dropped, old)
			did.Replaced++
		}
		if a.n == 0 {
			break
		}
	}
	if *did == before {
		return n, nil
	}
	if err := t.replaceBottom(a, b); err != nil {
		return 0, err
	}
	t.dropReplaced()
	for _, l := range t.added {
		t.Add(t.r.Reader, l)
	}
	for _, l := range t.dropped {
		t.Tree.Remove(t.r.Reader, l)
		t.DropLeaf(l)
	}
	return n, nil
}

// agree reports whether two keys have their first n bytes in common.
func agree(a, b []byte, n uint64) bool {
	return n == 0 || uint64(len(a)) >= n && uint64(len(b)) >= n && bytes.Equal(a[:n], b[:n])
}

// changeOne carries out one change.
func (t *Tx) changeOne(c Change, did *Changed) error {
	if c.Leaf == (node.Leaf{}) {
		_, existed, err := t.Delete(c.Key)
		if existed {
			did.Deleted++
		}
		return err
	}
	_, effect, err := t.SetLeaf(c.Leaf)
	switch effect {
	case node.Inserted:
		did.Inserted++
	case node.Replaced:
		did.Replaced++
	}
	return err
}

// replaceBottom makes the draft a, in place of the path's bottom node b, and changes the
// nodes above.
func (t *Tx) replaceBottom(a *draft, b tnode) error {
	d := t.path.depth - 1
	if a.n == 0 || a.n > maxBottom || a.n < b.n && a.n < maxBottom/4 && d > 0 {
		t.replace(b)
		return t.rebuild(d, a, a.n < b.n)
	}
	off, err := t.place(b, a.n)
	if err != nil {
		return err
	}
	to := tnode{off, a.n, b.skip, b.width}
	for i := range a.n {
		t.r.Mem.SetWord(to.headOff(i), a.heads[i])
		t.r.Mem.SetWord(to.refOff(i), uint64(a.refs[i]))
	}
	t.r.Mem.SetWord(off+node.HeadOff, to.skip<<skipShift|to.n)
	return t.resized(d, off, to.n, int64(to.n)-int64(b.n))
}
