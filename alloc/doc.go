// Package alloc is the memory of a store: the mapped files, the blocks in them, who uses
// what, and how all of it outlives any process. It knows bytes and versions, never keys.
//
// # Terms
//
//	block     what Alloc returns: a block of a slab, or a run of pages
//	slot      a writer's place in the file data: intent, log, magazines, slabs, queue
//	proc      an open handle's place in the file procs, held by a lock
//	pin       a version that must stay readable
//	horizon   the newest version whose garbage may have been reused
//	birth     the version that published a block
//	retire    put a block that a commit replaced into the slot's queue
//	reclaim   free a retired block, or defer it if a pin or an intent holds it
//	adopt     put the slots of a dead process in order, and release them
//	evacuate  move the blocks of sparse slabs to others, so that pages come free
//	punch     give the memory of free pages back to the file system
//
// Pages, segments, slabs, runs and hints are terms of the format: see package layout.
//
// # Invariants
//
//   - A published block never changes. It keeps its contents until no pinned version lies
//     between its birth and the commit that retired it.
//   - A block that is not free is in exactly one place: a magazine, a log, reachable from
//     the root, a queue, or a deferred list. Ledger proves it.
//   - A death between any two instructions loses no block and no committed version. The
//     slot of the dead process tells what is to be done, and anybody can do it.
//   - Nobody waits for another process.
//   - Words in shared memory are hints about what to look at, and are checked before they
//     are used as offsets or lengths.
//
// # Mechanism
//
// A transaction allocates blocks from the magazines of its slot, notes each in the slot's
// log, and writes the list of the blocks that it replaces behind the tail of the slot's
// queue. Commit states its intent and publishes the new root by one compare-and-swap. The
// root word then says whether the transaction happened.
//
// A reclaimer raises the horizon, scans the pins, and frees the retired blocks that no
// pinned version can see. It defers the others, and looks at them again when the pin that
// holds them is gone. An optimistic reader holds no pin: it notes the horizon, reads, and
// looks at the horizon again.
//
// The rules, which the code cites as P1, C4 and so on, are in PROTOCOL.md: who writes each
// word, what a death leaves at each step, and why the order of the steps is what it is.
package alloc
