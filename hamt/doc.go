// Package hamt implements a persistent hash trie in shared memory: lookup, changes
// by path copying, iteration, difference, and verification.
//
// The package knows nodes and keys, but no processes. Package node defines references
// and leaves. Package alloc allocates blocks and decides when a block may be reused.
// Package shm publishes roots.
//
// # Terminology
//
//   - A trie consists of the nodes that a [node.Ref] reaches: branches, leaves and
//     collisions. Package node describes leaves and references.
//   - The hash of a key has 64 bits. A branch at depth d (with d branches above
//     it) uses 6 of them, from bit 6d on, as the index among its 64 possible
//     children. The 11th level uses the last 4 bits.
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
//   - I1: A leaf is on the path of its hash: the low bits of its key's hash are
//     the indices on the path, and its reference carries the hash's tag.
//   - I2: Leaves with equal hashes are in one collision node, which takes the
//     place of a leaf. A collision node contains no other leaves.
//   - I3: Equal contents have equal shapes. The path to a leaf or collision is
//     as short as possible: a branch has at least two children, or one child that
//     is a branch. References are in index order, colliding leaves in key order.
//   - I4: Each bit in a bitmap has a node: no reference in a node is nil.
//   - I5: A node's birth is not newer than that of the node above it.
//   - I6: A published node never changes. A transaction changes a node only
//     while the node is its own ([node.Allocator].Mine) and no walk of the
//     transaction that began after the node was made is running.
//   - I7: No method touches a byte at or beyond the region's end, and every loop
//     and recursion is bounded, whatever the memory contains. An offset or length
//     is read once and checked before it is used.
//   - I8: A change allocates all its blocks before it changes a node in place or
//     drops one. So one store makes the change. If Alloc fails before that, the
//     trie is as it was.
//
// [Reader.Check] proves I1 to I5. Tests, shmctl check and backups use it.
//
// # Lookup
//
// Each level takes three dependent instructions between two loads. A shift moves
// the bit of the index into the sign bit, which tells whether the child is present.
// A population count of the shifted bitmap gives the position of its reference.
// Find does not diagnose damage. [Reader.Explain] does that afterwards.
//
// On large tries a lookup spends most of its time in loads that depend on each
// other. The loads of consecutive lookups hardly overlap: with the hash, the descent
// and the copy, a get has more instructions than a processor looks ahead (see the
// rows "get, copied" and "get, dependent chain" of bench). The same is true of a Go
// map. [Reader.FindMany] makes the loads overlap.
//
// The tag in a reference rules out most absent keys without a load of the leaf
// (394 ns instead of 493 ns among 10^7 entries).
//
// # Why 64-way
//
// Branches of 64 children were measured on a prototype, with 16-byte keys and
// 100-byte values. With 32 children sets were 8–15 % faster and gets 10–50 % slower.
// With 16 children both were slower at every size from 10^3 to 10^7. Wider roots
// and buckets at the lowest level gained nothing: a packed branch of the last level
// already is a bucket.
//
// # Sources
//
// The trie is Phil Bagwell's (Ideal Hash Trees, 2001). Contraction on delete,
// which gives equal contents equal shapes, is from CHAMP (Steindorfer and Vinju,
// Optimizing Hash-Array Mapped Tries for Fast and Lean Immutable JVM Collections,
// 2015). CHAMP's second bitmap, for entries without an indirection, is not used: it
// would put keys of any length into branches that are copied at every write. The
// kind and the tag in each reference take its place. In-place changes of a
// transaction's own nodes follow Clojure's transients.
package hamt
