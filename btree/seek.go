package btree

import "github.com/seed-869cc763/shmkv/node"

// A path is the way from the root to a place between two leaves, or at one.
type path struct {
	near  bool // the neighbours of the place are wanted, too
	depth int  // nodes on the way; the last is a bottom node
	at    [maxDepth]step
	// lowest is the depth of the first node that skips a byte in which the key differs
	// from all keys below the node, or maxDepth if there is none.
	lowest int
	same   uint64 // the number of bytes before that one; with lowest
}

// A step is a node and the index of one of its children. In a bottom node the index may
// be that behind the last child.
type step struct {
	tnode
	i uint64
}

// bottom is the last step.
func (p *path) bottom() *step { return &p.at[p.depth-1] }

// seek finds the place of key: at its leaf, or before the leaf of the next greater key.
// The root is not nil.
//
// The descent believes that key has the bytes that the nodes skip. A leaf at its end
// tells whether that is so. If not, the key is less or greater than all keys below the
// first node of the path that skips the byte at which the two differ.
func (r Reader) seek(root node.Ref, key []byte, p *path) (found bool, err error) {
	p.lowest = maxDepth
	l, found, err := r.descend(root, key, p)
	if err != nil || found {
		return found, err
	}
	skips := false
	for _, s := range p.at[:p.depth] {
		skips = skips || s.skip > 0
	}
	if !skips {
		return false, nil
	}
	if l == (node.Leaf{}) { // the key was compared with no leaf
		b := p.bottom()
		if l, err = r.Leaf(r.ref(b.tnode, min(b.i, b.n-1))); err != nil {
			return false, err
		}
	}
	same, order := r.CommonKey(l, key)
	for d, s := range p.at[:p.depth] {
		if s.skip > same {
			p.lowest, p.same = d, same
			return false, r.toEdge(p, d, order < 0)
		}
	}
	return false, nil
}

// descend fills p with the path of key, if key has the bytes that the nodes skip. It
// returns the leaf that key was compared with last, or the zero Leaf.
func (r Reader) descend(root node.Ref, key []byte, p *path) (l node.Leaf, found bool, err error) {
	ref := root
	for depth := 0; ; depth++ {
		r.prefetch(ref.Off())
		t, err := r.node(ref, depth)
		if err != nil {
			return node.Leaf{}, false, err
		}
		h := headOf(key, t.skip)
		i := r.upper(t.headsOff(), t.n, h)
		if p.depth = depth + 1; !t.inner() {
			if p.near {
				r.prefetchLeaves(t, max(i, 2)-2, min(i+1, t.n))
			}
			i, l, found, err = r.position(t, i, h, key)
			p.at[depth] = step{t, i}
			return l, found, err
		}
		i, ok := r.child(t, i, h, key, depth)
		if !ok {
			_, err := r.edge(r.ref(t, i), depth+1, false)
			return node.Leaf{}, false, damaged(t.off, err)
		}
		p.at[depth] = step{t, i}
		ref = r.ref(t, i)
	}
}

// prefetchLeaves prefetches the leaves of a bottom node from one index to another.
func (r Reader) prefetchLeaves(t tnode, from, to uint64) {
	for i := from; i < to; i++ {
		off := min(r.ref(t, i).Off(), r.Last())
		r.Mem.Prefetch(off)
		r.PrefetchLeaf(off)
	}
}

// damaged returns err, or an error that names the node at off if err is nil: a lookup met
// damage there that is not there any more.
func damaged(off uint64, err error) error {
	if err == nil {
		return node.Corrupt(off, "node of an ordered tree", "children with leaves", "damage")
	}
	return err
}

// toEdge makes the path lead to the least leaf below its node of depth d, or behind the
// greatest.
func (r Reader) toEdge(p *path, d int, greatest bool) error {
	t := p.at[d].tnode
	for ; ; d++ {
		i := uint64(0)
		if greatest {
			i = t.n - 1
		}
		p.depth = d + 1
		if !t.inner() {
			if greatest {
				i++
			}
			p.at[d] = step{t, i}
			return nil
		}
		p.at[d] = step{t, i}
		var err error
		if t, err = r.node(r.ref(t, i), d+1); err != nil {
			return err
		}
	}
}

// rank returns the number of leaves before the place.
func (r Reader) rank(p *path) (n uint64) {
	for _, s := range p.at[:p.depth] {
		for i := range s.i {
			n += r.count(s.tnode, i)
		}
	}
	return n
}

// leaf returns the leaf at the place, or the one before it. If there is none, ok is
// false.
func (r Reader) leaf(p *path, before bool) (l node.Leaf, ok bool, err error) {
	d := p.depth - 1
	s := p.at[d]
	switch {
	case before && s.i > 0:
		l, err = r.Leaf(r.ref(s.tnode, s.i-1))
		return l, err == nil, err
	case !before && s.i < s.n:
		l, err = r.Leaf(r.ref(s.tnode, s.i))
		return l, err == nil, err
	}
	for d--; d >= 0; d-- {
		s := p.at[d]
		switch {
		case before && s.i > 0:
			l, err = r.edge(r.ref(s.tnode, s.i-1), d+1, true)
			return l, err == nil, err
		case !before && s.i+1 < s.n:
			l, err = r.edge(r.ref(s.tnode, s.i+1), d+1, false)
			return l, err == nil, err
		}
	}
	return node.Leaf{}, false, nil
}

// A Relation is the relation of the wanted key to a given one.
type Relation uint8

// The relations.
const (
	Lower  Relation = iota // the greatest key less than the given one
	Floor                  // the greatest key not greater
	Ceil                   // the least key not less
	Higher                 // the least key greater
)

// Near returns the leaf whose key has a relation to key, in the tree at root. It returns
// the zero Leaf if there is none. As Find, it may be used optimistically.
func (r Reader) Near(root node.Ref, key []byte, rel Relation) (node.Leaf, error) {
	if root == 0 {
		return node.Leaf{}, nil
	}
	p := path{near: true}
	found, err := r.seek(root, key, &p)
	if err != nil {
		return node.Leaf{}, err
	}
	before := rel == Lower || rel == Floor && !found
	if found && rel == Higher {
		p.bottom().i++
	}
	l, _, err := r.leaf(&p, before)
	return l, err
}

// Min returns the leaf of the least key in the tree at root, or the zero Leaf if the tree
// is empty. As Find, it may be used optimistically.
func (r Reader) Min(root node.Ref) (node.Leaf, error) { return r.extreme(root, false) }

// Max returns the leaf of the greatest key, as Min the one of the least.
func (r Reader) Max(root node.Ref) (node.Leaf, error) { return r.extreme(root, true) }

func (r Reader) extreme(root node.Ref, greatest bool) (node.Leaf, error) {
	if root == 0 {
		return node.Leaf{}, nil
	}
	return r.edge(root, 0, greatest)
}

// Rank returns how many keys in the tree at root are less than key, and whether key is
// one of its keys. As Find, it may be used optimistically.
func (r Reader) Rank(root node.Ref, key []byte) (n uint64, found bool, err error) {
	if root == 0 {
		return 0, false, nil
	}
	var p path
	if found, err = r.seek(root, key, &p); err != nil {
		return 0, false, err
	}
	return r.rank(&p), found, nil
}

// At returns the leaf before which the tree at root has i others, or the zero Leaf if
// there is none. As Find, it may be used optimistically.
func (r Reader) At(root node.Ref, i uint64) (node.Leaf, error) {
	ref := root
	for depth := 0; ref != 0; depth++ {
		t, err := r.node(ref, depth)
		if err != nil {
			return node.Leaf{}, err
		}
		if !t.inner() {
			if i >= t.n {
				break
			}
			return r.Leaf(r.ref(t, i))
		}
		c := uint64(0)
		for n := uint64(0); c < t.n; c++ {
			if n = r.count(t, c); i < n {
				break
			}
			i -= n
		}
		if c == t.n {
			break
		}
		ref = r.ref(t, c)
	}
	return node.Leaf{}, nil
}
