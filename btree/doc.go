// Package btree implements a persistent, ordered and counted search tree in shared memory:
// lookup, neighbours, ranks, changes by path copying, iteration in both directions,
// difference, and verification.
//
// It is the sibling of package hamt: it shares leaves, references and the contract with
// the allocator (package node), and makes the same promises. Package hamt describes what
// both have in common: optimistic lookups, in-place changes of a transaction's own nodes,
// and the invariants I5 to I8.
//
// # Terminology
//
//   - A bottom node has leaves as children, an inner node has nodes. All leaves are equally
//     deep.
//   - The skip of a node is a number of bytes that all keys below it have in common at
//     their beginning. It may be less than the number of all such bytes.
//   - The head of a key in a node is its first eight bytes behind the skipped ones, as a
//     big-endian number; missing bytes are zero. So keys are in the order of their heads,
//     and keys of equal heads have to be compared.
//   - The separator of a child of an inner node is a head. Keys of a greater head belong
//     to that child, or to one behind it.
//   - A separator is tied if a key before it may have the same head. Then the least key
//     below the child decides about keys of that head.
//
// # Format
//
// All words are little-endian, all nodes start at multiples of 8.
//
//	node       0   8    birth
//	           8   2    n, the number of children: bottom 1 to 32, inner 1 to 64
//	           10  6    skip, a multiple of 4, at most 65536
//	           16  8·n  bottom: the heads of the children's keys
//	                    inner: the separators of the children, 0 for the first
//	           +   8·n  references to the children; bit 48 is set if tied
//
//	inner      +   8·n  the numbers of leaves below the children
//
// The empty tree is Ref 0. A reference to a tree is that to its root, which may be a
// bottom node.
//
// # Invariants
//
//   - T1: All leaves have the same number of nodes above them. A node has at least a
//     quarter of the most children, unless it is the root or on the right edge of the
//     tree, where ascending inserts leave full nodes behind. A root that is an inner node
//     has two children or more.
//   - T2: Keys ascend from leaf to leaf.
//   - T3: All keys below a node have the skipped bytes in common.
//   - T4: A separator is not greater than the head of the least key below its child, and
//     greater than the head of the greatest key before it. If it is tied, it may be equal
//     to that head.
//   - T5: An inner node has the number of leaves below each child.
//
// [Reader.Check] proves T1 to T5, and I5.
//
// # Lookup
//
// A node is searched by its heads alone, which are in a few neighbouring cache lines that
// are prefetched at once. Neither the skipped bytes nor whole keys are stored in nodes. A
// lookup believes that its key has the skipped bytes. If the tree has the key, that is
// true, and one comparison with the leaf at the end proves it. Otherwise the comparison
// tells the first byte that differs, and so the first node that the lookup was wrong to
// believe: the key is less or greater than everything below that node.
//
// Only keys that tie cost a further leaf. To keep ties rare, nodes split where heads
// differ, if they can, and a new node that has ties gets the largest skip that its keys
// permit.
//
// # Many changes
//
// [Tx.ChangeMany] takes changes in the order of their keys together that belong to one bottom
// node: one descent, and one copy of the node. It is certain that a key belongs to the node
// of the key before it if it is between two keys of that node. Otherwise a new descent finds
// out, so changes in any order have the same result.
//
// The comment in node.go says how the sizes were chosen, and why this structure.
//
// # Sources
//
// B+trees with the first bytes of keys beside the references, to save cache misses, are
// those of Graefe and Larson (B-Tree Indexes and CPU Caches, 2001). Believing skipped
// bytes until a leaf proves them is the optimistic path compression of Leis, Kemper and
// Neumann (The Adaptive Radix Tree, 2013). Counts in the nodes are the order statistics
// of Cormen et al.
package btree
