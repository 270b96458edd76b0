package hamt

import "github.com/seed-869cc763/shmkv/node"

// Newer calls visit once for each node of the trie at root that was born after a version,
// parents before children. It returns a region.CorruptError for a damaged trie, or the first
// error of visit. The trie must not change meanwhile.
//
// A node that is not newer has nothing newer below it (I5). So Newer reads the newer nodes, and
// one word of each of their children. A damaged tree can refer to one node in many places. So visit
// must end with an error after some number of nodes.
func (r Reader) Newer(root node.Ref, after uint64, visit func(node.Node) error) error {
	return r.newer(root, after, 0, visit)
}

func (r Reader) newer(ref node.Ref, after uint64, depth int, visit func(node.Node) error) error {
	if ref == 0 {
		return nil
	}
	if ref.Off() > r.Last() {
		return r.Outside(ref)
	}
	n := node.Node{Ref: ref, Depth: depth, Birth: r.Mem.Word(ref.Off())}
	if n.Birth <= after {
		return nil
	}
	switch ref.Kind() {
	case node.KindBranch:
		b, err := r.branch(ref, depth)
		if err != nil {
			return err
		}
		n.Size = b.size()
		return r.newerBelow(n, b.count(), func(i uint64) node.Ref { return b.ref(r, i) }, after, visit)
	case node.KindCollision:
		c, err := r.collision(ref)
		if err != nil {
			return err
		}
		n.Size = c.size()
		return r.newerBelow(n, c.count, func(i uint64) node.Ref { return c.ref(r, i) }, after, visit)
	}
	l, err := r.Leaf(ref)
	if err != nil {
		return err
	}
	n.Size, n.Leaf = l.Size(), l
	return visit(n)
}

// newerBelow visits a node, and what is newer below its children.
func (r Reader) newerBelow(n node.Node, count uint64, child func(i uint64) node.Ref, after uint64, visit func(node.Node) error) error {
	if err := visit(n); err != nil {
		return err
	}
	for i := range count {
		r.Mem.Prefetch(min(child(i).Off(), r.Last()))
	}
	for i := range count {
		if err := r.newer(child(i), after, n.Depth+1, visit); err != nil {
			return err
		}
	}
	return nil
}
