// Package node holds what all trees of a store share: references, leaves, what
// a lookup and a proof say of them, and the contract with the allocator. Package
// hamt builds its trie of it.
//
// # Terminology
//
//   - A node is a block of a tree. The birth of a node is the version whose
//     commit published it. Until then the word belongs to the allocator, which
//     tells by it whose block it is.
//   - The head of a node is its second word, which says how long it is.
//   - A leaf is a node that holds one entry: a key and its value.
//   - A reference is a word that leads to a node.
//
// # Format
//
// All words are little-endian, all nodes start at multiples of 8.
//
//	Ref        bits 0–2    kind: 0 nil, 1 branch, 2 leaf, 3 collision
//	           bits 3–47   the offset's bits 3–47
//	           bits 48–63  leaf, collision: the tag, the top 16 bits of the hash
//	                       of its key; branch: 0
//
//	leaf       0   8    birth
//	           8   4    length of the value
//	           12  2.5  length of the key, 20 bits, at most 65536
//	           14.5 1.5 flags, 12 bits; this build knows none
//	           16       key, and the value right behind it
//
// Whatever stands in memory, a [Reader] touches no byte at or beyond its end. It
// reads an offset or a length once and checks it before it uses it.
package node
