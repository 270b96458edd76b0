// Package region is the fence around shared memory: the only package of this
// module that casts pointers, that uses atomics on words of the mapping, and
// that talks to the kernel about the mapping. Everybody else holds offsets.
//
// # Kinds of access
//
// A [Mem] is one view of a range of memory: the read-write mapping of a file,
// the read-only mapping of the same file, or a block of the Go heap (tests).
// Its methods say what may happen to the word at the same time:
//
//   - Word, SetWord, Bytes, Write: plain accesses. For blocks that are
//     published (nobody writes them while they can be reached), for blocks
//     that are not published yet, and for a slot's private words, which have
//     one writer at a time. What counts there is program order, because the
//     next reader of a private word is either the same slot or the adopter of
//     its dead owner: a process dies between two instructions, all stores
//     before the death are seen by the adopter, none after it happened. Go
//     compiles stores to memory in the order in which they are written.
//   - Load, Store, CAS, Or, And, Add, Max: sequentially consistent atomics,
//     for words that several processes write or that order other words.
//
// An optimistic reader (see package alloc) uses plain accesses on memory that
// may be reused under it and throws the result away when that was possible.
//
// # The hook
//
// In a build with the tag shmhook every access first calls the Mem's hook, if
// one is set. It is a point where a scheduler may switch to another actor, and
// where an actor may die: a hook that panics stops the access from happening.
// In an ordinary build there is no hook and no trace of one.
//
// # The race detector
//
// It watches the Go heap only, so it sees a heap-backed region and nothing of
// a mapping. In a build with the tag race the plain accesses become atomic, so
// that what the protocol allows (an optimistic reader beside a writer) is not
// reported, while races on Go's own memory still are.
package region
