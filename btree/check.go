package btree

import (
	"bytes"
	"fmt"

	"github.com/seed-869cc763/shmkv/node"
)

// Counts are the totals of a whole tree.
type Counts struct {
	Entries   int64
	DataBytes int64 // bytes of all keys and values
	Shape
}

// Shape counts the nodes of a tree.
type Shape struct {
	Depth    int                    // nodes above a leaf
	Bottoms  int64                  // bottom nodes
	Inners   int64                  // inner nodes
	Tied     int64                  // separators that are tied
	Children [maxChildren + 1]int64 // nodes, by the number of their children
}

// Check proves the invariants of the tree at root, and calls visit once for each node,
// parents before children and leaves in order. It returns the first violation as a
// region.CorruptError, or the first error of visit. It reads every node and compares all
// keys.
//
// extra must be the further words of the tree's leaves. version is the newest version in
// which a node may be born. A version of 0 skips the check of births, which a
// transaction's own nodes do not have yet.
//
// Check ends however damaged the tree is: each leaf has a greater key than the one before,
// so no node is reached twice. Check does not see that two nodes overlap. visit can,
// because it gets their offsets and sizes.
func (r Reader) Check(root node.Ref, version uint64, extra node.Extra, visit func(node.Node) error) (Counts, error) {
	c := checker{r: r, births: version != 0, extra: extra, visit: visit}
	if root == 0 {
		return Counts{}, nil
	}
	if root&node.Tied != 0 {
		return Counts{}, node.Corrupt(root.Off(), "reference", "a root that is not tied", "%v", root)
	}
	_, err := c.node(root, place{birth: version, last: true})
	return c.counts, err
}

type checker struct {
	r      Reader
	births bool
	extra  node.Extra
	visit  func(node.Node) error
	counts Counts
	before node.Leaf // the last leaf that was visited
}

// A place is the position of a node in the tree.
type place struct {
	depth int
	birth uint64 // of the node above
	last  bool   // the node is on the right edge of the tree
}

// below is what is below a node.
type below struct {
	first, last node.Leaf
	count       uint64
}

func (c *checker) node(ref node.Ref, at place) (b below, err error) {
	t, err := c.r.node(ref, at.depth)
	if err != nil {
		return b, err
	}
	if ref.Tag() > 1 {
		return b, node.Corrupt(t.off, "reference", "no tag but that of a tied node", "%v", ref)
	}
	if least := mostOf(t.inner()) / 4; !at.last && t.n < least {
		return b, node.Corrupt(t.off, "node of an ordered tree", fmt.Sprintf("at least %d children", least), "%d", t.n)
	}
	if at.depth == 0 && t.inner() && t.n == 1 {
		return b, node.Corrupt(t.off, "root of an ordered tree", "two children, or leaves", "one inner child")
	}
	n, err := c.enter(ref, t.size(), at)
	if err != nil {
		return b, err
	}
	if err := c.visit(n); err != nil {
		return b, err
	}
	c.counts.Children[t.n]++
	if t.inner() {
		c.counts.Inners++
		b, err = c.children(t, n, at)
	} else {
		c.counts.Bottoms++
		b, err = c.leaves(t, n, at)
	}
	if err != nil {
		return b, err
	}
	if same, _ := c.r.CommonKey(b.first, c.r.Key(b.last)); same < t.skip {
		return b, node.Corrupt(t.off, "skip of a node of an ordered tree", "bytes that all keys share", "%d of %d", t.skip, same)
	}
	return b, nil
}

// enter checks the birth of a node of any kind.
func (c *checker) enter(ref node.Ref, size uint64, at place) (node.Node, error) {
	birth := c.r.Mem.Word(ref.Off())
	if c.births && (birth == 0 || birth > at.birth) {
		return node.Node{}, node.Corrupt(ref.Off(), "birth", "a version not after that of the node above",
			"%d below %d", birth, at.birth)
	}
	return node.Node{Ref: ref, Size: size, Depth: at.depth, Birth: birth}, nil
}

// children checks an inner node, all of whose children have the same depth.
func (c *checker) children(t tnode, n node.Node, at place) (b below, err error) {
	for i := range t.n {
		ref := c.r.ref(t, i)
		if kind := c.r.ref(t, 0).Kind(); ref.Kind() != kind {
			return b, node.Corrupt(t.off, "node of an ordered tree", "children of one kind", "%v", ref)
		}
		child, err := c.node(ref, place{at.depth + 1, n.Birth, at.last && i == t.n-1})
		if err != nil {
			return b, err
		}
		if found := c.r.count(t, i); found != child.count {
			return b, node.Corrupt(t.countOff(i), "count of a node of an ordered tree", "the entries below its child", "%d of %d", found, child.count)
		}
		tied := ref&node.Tied != 0
		if tied {
			c.counts.Tied++
		}
		switch head := c.r.head(t, i); {
		case i == 0 && (head != 0 || tied):
			return b, node.Corrupt(t.headOff(0), "separator", "none of the least child", "%#x, %v", head, ref)
		case i > 0 && head > c.r.leafHead(child.first, t.skip):
			return b, node.Corrupt(t.headOff(i), "separator", "none greater than the keys behind it", "%#x", head)
		case i > 0 && head < c.r.leafHead(b.last, t.skip), i > 0 && !tied && head == c.r.leafHead(b.last, t.skip):
			return b, node.Corrupt(t.headOff(i), "separator", "a greater one than the keys before it", "%#x", head)
		}
		if i == 0 {
			b.first = child.first
		}
		b.last, b.count = child.last, b.count+child.count
	}
	return b, nil
}

// leaves checks a bottom node.
func (c *checker) leaves(t tnode, n node.Node, at place) (b below, err error) {
	if depth := at.depth + 1; c.counts.Depth == 0 {
		c.counts.Depth = depth
	} else if c.counts.Depth != depth {
		return b, node.Corrupt(t.off, "node of an ordered tree", "leaves of one depth", "%d nodes above, not %d", depth, c.counts.Depth)
	}
	for i := range t.n {
		ref := c.r.ref(t, i)
		l, err := c.r.Leaf(ref)
		if err != nil {
			return b, err
		}
		if ref.Tag() != 0 {
			return b, node.Corrupt(t.off, "reference", "no tag", "%v", ref)
		}
		if err := c.r.CheckExtra(l, c.extra); err != nil {
			return b, err
		}
		key := c.r.Key(l)
		if c.before != (node.Leaf{}) && bytes.Compare(c.r.Key(c.before), key) >= 0 {
			return b, node.Corrupt(l.Off, "leaf", "a greater key than that of the leaf before", "%.20q", key)
		}
		if head := c.r.head(t, i); head != headOf(key, t.skip) {
			return b, node.Corrupt(t.headOff(i), "head", "that of the key", "%#x", head)
		}
		m, err := c.enter(ref, l.Size(), place{at.depth + 1, n.Birth, false})
		if err != nil {
			return b, err
		}
		m.Leaf = l
		if err := c.visit(m); err != nil {
			return b, err
		}
		c.counts.Entries++
		c.counts.DataBytes += l.DataBytes()
		if i == 0 {
			b.first = l
		}
		b.last, c.before = l, l
	}
	b.count = t.n
	return b, nil
}
