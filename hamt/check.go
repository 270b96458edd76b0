package hamt

import (
	"bytes"

	"github.com/seed-869cc763/shmkv/node"
)

// Counts are the totals of a whole trie.
type Counts struct {
	Entries   int64
	DataBytes int64 // bytes of all keys and values
	Shape
}

// Shape counts the nodes of a trie.
type Shape struct {
	Leaves     [maxDepth + 1]int64 // by the number of branches above them
	Branches   [maxDepth + 1]int64 // by the number of branches above them
	Children   [fanout + 1]int64   // branches, by the number of their children
	Collisions int64
}

// Check proves the invariants I1 to I5 of the trie at root and calls visit once
// for each node, parents before children. It returns the first violation as a
// region.CorruptError, or the first error of visit. It reads every node and
// hashes every key.
//
// hash must be the function that the trie was built with, and extra the further words
// of its leaves. version is the newest version in which a node may be born. A version of
// 0 skips the check of births, which a transaction's own nodes do not have yet.
//
// Check ends however damaged the trie is: every leaf is proved to be on the path
// of its hash and every branch to have a leaf below it, so no node is reached
// twice. Check does not see that two nodes overlap. visit can, because it gets
// their offsets and sizes.
func (r Reader) Check(root node.Ref, version uint64, hash func(key []byte) uint64, extra node.Extra, visit func(node.Node) error) (Counts, error) {
	c := checker{r: r, births: version != 0, hash: hash, extra: extra, visit: visit}
	if root == 0 {
		return Counts{}, nil
	}
	err := c.node(root, place{birth: version})
	return c.counts, err
}

type checker struct {
	r      Reader
	births bool
	hash   func(key []byte) uint64
	extra  node.Extra
	visit  func(node.Node) error
	counts Counts
}

// A place is the position of a node in the trie.
type place struct {
	depth int    // branches above the node
	path  uint64 // the low hash bits that lead to the node
	birth uint64 // of the node above
}

func (c *checker) node(ref node.Ref, at place) error {
	n, err := c.enter(ref, at)
	if err != nil {
		return err
	}
	at.birth = n.Birth
	switch ref.Kind() {
	case node.KindBranch:
		return c.branch(n, at)
	case node.KindCollision:
		return c.collision(n, at)
	}
	_, _, err = c.leaf(n, at)
	return err
}

// enter checks the offset and the birth of a node of any kind.
func (c *checker) enter(ref node.Ref, at place) (node.Node, error) {
	if ref.Off() > c.r.Last() {
		return node.Node{}, c.r.Outside(ref)
	}
	birth := c.r.Mem.Word(ref.Off())
	if c.births && (birth == 0 || birth > at.birth) {
		return node.Node{}, node.Corrupt(ref.Off(), "birth", "a version not after that of the node above",
			"%d below %d", birth, at.birth)
	}
	return node.Node{Ref: ref, Depth: at.depth, Birth: birth}, nil
}

func (c *checker) branch(n node.Node, at place) error {
	if n.Ref.Tag() != 0 {
		return node.Corrupt(n.Ref.Off(), "reference", "no tag with a branch", "%v", n.Ref)
	}
	b, err := c.r.branch(n.Ref, at.depth)
	if err != nil {
		return err
	}
	if levels := 64 - levelBits*uint(at.depth); levels < levelBits && b.bitmap>>(1<<levels) != 0 {
		return node.Corrupt(b.off, "branch", "indices of the hash's last 4 bits only", "bitmap %#x", b.bitmap)
	}
	n.Size = b.size()
	if err := c.visit(n); err != nil {
		return err
	}
	c.counts.Branches[at.depth]++
	c.counts.Children[b.count()]++
	below := place{depth: at.depth + 1, birth: at.birth}
	for i := range uint64(b.count()) {
		c.r.Mem.Prefetch(min(b.ref(c.r, i).Off(), c.r.Last()))
	}
	i := uint64(0)
	for index := range uint64(fanout) {
		if b.bitmap>>index&1 == 0 {
			continue
		}
		ref := b.ref(c.r, i)
		i++
		if ref == 0 {
			return corruptNil(b.off)
		}
		if b.count() == 1 && ref.Kind() != node.KindBranch {
			return node.Corrupt(b.off, "branch", "two children or a branch", "only %v", ref)
		}
		below.path = at.path | index<<(levelBits*uint(at.depth))
		if err := c.node(ref, below); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) collision(n node.Node, at place) error {
	col, err := c.r.collision(n.Ref)
	if err != nil {
		return err
	}
	n.Size = col.size()
	if err := c.visit(n); err != nil {
		return err
	}
	c.counts.Collisions++
	var key []byte
	var hash uint64
	for i := range col.count {
		ref := col.ref(c.r, i)
		leaf, err := c.enter(ref, at)
		if err != nil {
			return err
		}
		k, h, err := c.leaf(leaf, at)
		switch {
		case err != nil:
			return err
		case ref.Tag() != n.Ref.Tag() || i > 0 && h != hash:
			return node.Corrupt(col.off, "collision", "leaves of one hash", "%v below %v", ref, n.Ref)
		case i > 0 && bytes.Compare(key, k) >= 0:
			return node.Corrupt(col.off, "collision", "leaves in the order of their keys", "leaf %d out of it", i)
		}
		key, hash = k, h
	}
	return nil
}

func (c *checker) leaf(n node.Node, at place) (key []byte, hash uint64, err error) {
	l, err := c.r.Leaf(n.Ref)
	if err != nil {
		return nil, 0, err
	}
	if err := c.r.CheckExtra(l, c.extra); err != nil {
		return nil, 0, err
	}
	key = c.r.Key(l)
	hash = c.hash(key)
	if hash>>node.TagShift != n.Ref.Tag() {
		return nil, 0, node.Corrupt(l.Off, "leaf", "a key that has the reference's tag", "hash %#016x at %v", hash, n.Ref)
	}
	if mask := uint64(1)<<(levelBits*uint(at.depth)) - 1; hash&mask != at.path {
		return nil, 0, node.Corrupt(l.Off, "leaf", "a key whose hash leads there",
			"hash %#016x on the path of %#x at depth %d", hash, at.path, at.depth)
	}
	c.counts.Entries++
	c.counts.Leaves[at.depth]++
	c.counts.DataBytes += l.DataBytes()
	n.Size, n.Leaf = l.Size(), l
	return key, hash, c.visit(n)
}
