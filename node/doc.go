// Package node defines the parts that all trees of a store share: references, leaves,
// the results of lookups and checks, and the interface of the allocator. Package hamt
// builds its trie from them.
//
// # Terminology
//
//   - A node is a block of a tree.
//   - The birth of a node is its first word: the version whose commit published the
//     node. Before that, the word belongs to the allocator and identifies the slot
//     that owns the block.
//   - The head of a node is its second word, which determines the node's size.
//   - A leaf is a node that contains one entry: a key and its value.
//   - A reference is a word that identifies a node by its kind and offset.
//
// # Format
//
// All words are little-endian. All nodes start at multiples of 8. The columns of leaf
// are offset and size in bytes.
//
//	Ref        bits 0–2    kind: 0 nil, 1 branch, 2 leaf, 3 collision,
//	                       4 bottom node, 5 inner node
//	           bits 3–47   the offset's bits 3–47
//	           bits 48–63  leaf, collision of a trie: the tag, the top 16 bits of
//	                       the hash of its key; bottom, inner: 1 if tied; else 0
//
//	leaf       0   8    birth
//	           8   4    length of the value
//	           12  2.5  length of the key, 20 bits, at most 65536
//	           14.5 1.5 flags, 12 bits: 1 HasMap, 2 HasSum; the others are 0
//	           16       key, directly followed by the value; with a flag, zero to
//	                    seven bytes up to a multiple of 8 and a word for each flag,
//	                    in the order of the flags' bits
//
// The word of HasMap identifies the leaf's map. That of HasSum is the CRC-32C (Castagnoli)
// of the bytes from the head to the end of the value, followed by the word of HasMap if
// there is one.
//
// A [Reader] touches no byte at or beyond its end, whatever the memory contains. It
// reads each offset and length once and checks it before use.
package node
