package btree

import "github.com/seed-869cc763/shmkv/node"

// Newer calls visit once for each node of the tree at root that was born after a version,
// parents before children. It returns a region.CorruptError for a damaged tree, or the first
// error of visit. The tree must not change meanwhile.
//
// A node that is not newer has nothing newer below it. So Newer reads the newer nodes, and one
// word of each of their children. A damaged tree can refer to one node in many places. So visit
// must end with an error after some number of nodes.
func (r Reader) Newer(root node.Ref, after uint64, visit func(node.Node) error) error {
	if root == 0 {
		return nil
	}
	return r.newer(root, after, 0, visit)
}

func (r Reader) newer(ref node.Ref, after uint64, depth int, visit func(node.Node) error) error {
	if ref.Off() > r.Last() {
		return r.Outside(ref)
	}
	n := node.Node{Ref: ref, Depth: depth, Birth: r.Mem.Word(ref.Off())}
	if n.Birth <= after {
		return nil
	}
	if ref.Kind() == node.KindLeaf {
		l, err := r.Leaf(ref)
		if err != nil {
			return err
		}
		n.Size, n.Leaf = l.Size(), l
		return visit(n)
	}
	t, err := r.node(ref, depth)
	if err != nil {
		return err
	}
	n.Size = t.size()
	if err := visit(n); err != nil {
		return err
	}
	for i := range t.n {
		r.Mem.Prefetch(min(r.ref(t, i).Off(), r.Last()))
	}
	for i := range t.n {
		if err := r.newer(r.ref(t, i), after, depth+1, visit); err != nil {
			return err
		}
	}
	return nil
}
