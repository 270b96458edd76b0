// Package region encapsulates access to shared memory. It is the only package of this
// module that casts pointers, that uses atomics on words of the mapping, and that makes
// system calls on the mapping. All other packages refer to shared memory by offsets.
//
// # Kinds of access
//
// A [Mem] is a view of a range of memory: the read-write mapping of a file, the
// read-only mapping of the same file, or a block of the Go heap (in tests). It has two
// kinds of methods:
//
//   - Word, SetWord, Bytes and Write are plain accesses. They serve three kinds of
//     memory: published blocks, which nobody writes while they are reachable; blocks
//     that are not published yet; and the private words of a slot, which have one
//     writer at a time. Program order is enough for private words. The next reader is
//     the same slot or the adopter of its dead owner. A process dies between two
//     instructions, and the adopter sees all stores before the death and none after
//     it. Go compiles stores in program order.
//   - Load, Store, CAS, Or, And, Add and Max are sequentially consistent atomics. They
//     serve words that several processes write or that order other words.
//
// An optimistic reader (see package alloc) uses plain accesses on memory that may be
// reused meanwhile. It discards the result if a reuse was possible.
//
// # The hook
//
// In a build with the tag shmhook each access first calls the Mem's hook, if one is
// set. There a scheduler may switch to another actor or let the actor die. A hook that
// panics prevents the access. Builds without the tag contain no code for hooks.
//
// # Mappings
//
// Map and Place use golang.org/x/sys and not mmap-go, which lets the kernel choose the
// address. The mapping of the file data must begin at a multiple of 2 MiB, or the kernel
// maps its huge pages as small ones. Huge pages take 15 to 25 % off gets among a million
// entries (bench -peers shm-small). Detach puts another mapping at the address of a live
// one, which mmap-go cannot do either. Only the mapping of the file procs could use it,
// and one way to map is simpler than two.
//
// # The race detector
//
// The race detector watches the Go heap, but not mappings. In a build with the tag race
// the plain accesses are atomic. So the detector does not report an optimistic reader
// beside a writer, which the protocol allows, and still reports races on Go's own
// memory.
package region
