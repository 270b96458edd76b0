package btree

import (
	"bytes"

	"github.com/seed-869cc763/shmkv/node"
)

// Diff calls visit for each entry that differs between the trees at older and newer, in
// order, until visit returns false. A zero old leaf means that the entry was added, a zero
// new leaf that it was removed. Neither tree may change meanwhile. An entry that was
// rewritten or moved with the same key and value is not a difference.
//
// Diff skips shared nodes, so its time is proportional to the number of nodes written
// between the two versions, not to the size of the trees.
func (r Reader) Diff(older, newer node.Ref, visit func(old, new node.Leaf) bool) error {
	return diff(newCursor(r, older), newCursor(r, newer), true, visit)
}

// Join calls visit once for each key of two trees, in order, until visit returns false.
// visit gets the key's leaf in each tree, or the zero Leaf if the tree has no such key.
// Join visits equal entries too. The trees lie in different regions. Join reads all of
// both.
func Join(a Reader, older node.Ref, b Reader, newer node.Ref, visit func(old, new node.Leaf) bool) error {
	return diff(newCursor(a, older), newCursor(b, newer), false, visit)
}

// diff moves two cursors through the trees. Where both stand before the same node, both
// pass over it. Otherwise the one that stands before the larger node, or both, go down to
// the first child.
func diff(p, q *cursor, shared bool, visit func(old, new node.Leaf) bool) error {
	for p.err == nil && q.err == nil {
		x, y := p.at(), q.at()
		switch high, low := p.height(), q.height(); {
		case x == 0 && y == 0:
			return nil
		case shared && x == y:
			p.next()
			q.next()
		case high > 0 && high >= low:
			if p.down(); high == low {
				q.down()
			}
		case low > 0:
			q.down()
		default:
			old, new := p.leaf(), q.leaf()
			if p.err != nil || q.err != nil {
				continue
			}
			p.pay(min(old.Size(), new.Size()))
			order := 0
			switch {
			case y == 0:
				order = -1
			case x == 0:
				order = 1
			default:
				order = bytes.Compare(p.r.Key(old), q.r.Key(new))
			}
			if order <= 0 {
				p.next()
			} else {
				old = node.Leaf{}
			}
			if order >= 0 {
				q.next()
			} else {
				new = node.Leaf{}
			}
			if shared && order == 0 && bytes.Equal(p.r.Value(old), q.r.Value(new)) {
				continue
			}
			if !visit(old, new) {
				return nil
			}
		}
	}
	if p.err != nil {
		return p.err
	}
	return q.err
}

// A cursor stands before a node of a tree, or before a leaf, or at the end.
type cursor struct {
	r      Reader
	root   node.Ref // while the cursor stands before it
	levels int      // nodes above a leaf
	path   path
	left   uint64 // bytes that may still be read
	err    error
}

func newCursor(r Reader, root node.Ref) *cursor {
	c := &cursor{r: r, root: root, left: 4 * r.End}
	for ref := root; ref != 0 && ref.Kind() != node.KindLeaf && c.err == nil; c.levels++ {
		var t tnode
		if t, c.err = r.node(ref, c.levels); c.err == nil {
			ref = r.ref(t, 0)
		}
	}
	return c
}

// at returns the reference to what the cursor stands before, without the flag of a tied
// node, or 0 at the end.
func (c *cursor) at() node.Ref {
	if c.path.depth == 0 {
		return c.root
	}
	s := c.path.bottom()
	return c.r.ref(s.tnode, s.i) &^ node.Tied
}

// height returns how many nodes above a leaf there are from the cursor down: 0 before a
// leaf or at the end.
func (c *cursor) height() int {
	if k := c.at().Kind(); k != node.KindBottom && k != node.KindInner {
		return 0
	}
	return max(c.levels-c.path.depth, 1)
}

// leaf returns the leaf that the cursor stands before, or the zero Leaf.
func (c *cursor) leaf() (l node.Leaf) {
	if ref := c.at(); ref != 0 {
		l, c.err = c.r.Leaf(ref)
	}
	return l
}

// down moves the cursor before the first child of the node.
func (c *cursor) down() {
	t, err := c.r.node(c.at(), c.path.depth)
	if c.err = err; err == nil {
		c.path.at[c.path.depth] = step{t, 0}
		c.path.depth++
		c.pay(t.size())
	}
}

// next moves the cursor over what it stands before.
func (c *cursor) next() {
	c.root = 0
	for ; c.path.depth > 0; c.path.depth-- {
		if s := c.path.bottom(); s.i+1 < s.n {
			s.i++
			return
		}
	}
}

// pay takes bytes off those that may still be read. In a damaged tree one node can be in
// many places.
func (c *cursor) pay(bytes uint64) {
	if c.left < bytes && c.err == nil {
		c.err = node.Corrupt(c.at().Off(), "ordered tree", "no more nodes than the region has room for", "one more")
	}
	c.left -= min(c.left, bytes)
}
