// Package hamt is a persistent hash trie in shared memory: nodes, lookup, path
// copying, iteration, difference, and the proof that all is well.
//
// It knows nodes and keys, never processes. Package node holds what it shares with
// other trees. Package alloc allocates blocks and decides when a block may be reused,
// and package shm publishes roots.
//
// # Terminology
//
//   - A trie is the nodes that a [node.Ref] reaches: branches, leaves and
//     collisions. Package node describes leaves and references.
//   - The hash of a key is 64 bits. A branch at depth d (with d branches above
//     it) consumes 6 of them, from bit 6d on: the index among its 64 possible
//     children. The 11th level has the last 4 bits.
//   - The tag of a hash is its top 16 bits.
//
// # Format
//
// All words are little-endian, all nodes start at multiples of 8.
//
//	branch     0   8    birth
//	           8   8    bitmap: bit i is set if there is a child of index i
//	           16  8·n  references, in the order of their indices; n = bits set
//
//	collision  0   8    birth
//	           8   8    n, at least 2
//	           16  8·n  references to leaves, in the order of their keys
//
// The empty trie is Ref 0. A trie of one entry is a reference to its leaf.
//
// # Invariants
//
//   - I1: A leaf stands where its hash leads: the path to it is made of the
//     low bits of its key's hash, and its reference carries the hash's tag.
//   - I2: Leaves whose hashes are equal stand in one collision node, which
//     stands where a leaf would, and nothing else stands in one.
//   - I3: Equal contents have equal shapes. The path to a leaf or collision is
//     as short as it can be: a branch has two children or more, or one that is
//     a branch; references and colliding leaves are in order.
//   - I4: A bit in a bitmap has a node: no reference in a node is nil.
//   - I5: A node is not younger than the node above it.
//   - I6: A published node never changes. A transaction changes a node only
//     while the node is its own ([node.Allocator].Mine) and no walk of the
//     transaction, begun after the node was made, is under way.
//   - I7: Whatever stands in memory, no byte at or beyond the region's end is
//     touched, and every loop and recursion is bounded. An offset or a length
//     is read once and checked before it is used.
//   - I8: A change allocates all that it needs before it changes a node in
//     place or gives one up. So one store makes the change, and when Alloc
//     fails before it, nothing has happened.
//
// [Reader.Check] proves I1 to I5. It is what tests, shmctl check and recovery
// use.
//
// # Lookup
//
// A step down is three dependent instructions between two loads: the bitmap is
// shifted so that the bit of the index becomes the sign, which is presence, and
// the bits that are left are counted, which gives the reference's place. The
// code is short, and what is wrong with a damaged trie is found out afterwards
// ([Reader.Explain]).
//
// On large tries the time is that of the loads which depend on each other. The
// loads of one lookup after another do not overlap by themselves: with the hash,
// the walk and the copy a get has more instructions than a processor looks ahead
// (see the rows "get, copied" and "get, dependent chain" of bench), a map in one
// process no less. [Reader.FindMany] makes them overlap.
//
// A tag in the reference tells most absent keys without the wait for a leaf
// (394 ns against 493 on 10^7 entries).
//
// # Why 64-way
//
// Measured on a prototype, with 16-byte keys and values of 100 bytes: with 32
// children sets were 8–15 % faster and gets 10–50 % slower, with 16 both were
// slower at every size from 10^3 to 10^7. Wider roots and buckets at the fringe
// gained nothing: a branch of the last level, packed, already is a bucket.
//
// # Sources
//
// The trie is Phil Bagwell's (Ideal Hash Trees, 2001). Contraction on delete,
// so that equal contents have equal shapes, is from CHAMP (Steindorfer and
// Vinju, Optimizing Hash-Array Mapped Tries for Fast and Lean Immutable JVM
// Collections, 2015). What CHAMP gains by two bitmaps, entries without an
// indirection, would put keys of any length into branches that are copied at
// every write; the kind and tag in each reference serve instead. Changing a
// transaction's own nodes in place is the idea of Clojure's transients.
package hamt
