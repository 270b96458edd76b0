// Package alloc is the memory of a store: the mapped files, the blocks in them,
// who uses what, and how all of it outlives any process. It knows bytes and
// versions, never keys.
//
// # Terms
//
//	page      4 KiB of data, described by a descriptor in its segment's table
//	segment   a doubling of the file: [0, 1 MiB), [1, 2), [2, 4), …; each starts
//	          with its table, so the table grows with the file and a run of
//	          pages can be as long as half the store
//	slab      1 to 13 pages cut into blocks of one size class
//	run       pages that are one block, for more than 32 KiB
//	block     what Alloc returns: of a slab, or a run
//	entry     an open handle's place in slots, held by a lock
//	slot      a writer's place in data: intent, log, magazines, slabs, queue
//	pin       a version that must stay readable
//	horizon   the newest version whose garbage may have been reused
//	retire    put what a commit replaced into the slot's queue
//	reclaim   find that no pin and no intent holds it; free it, or set it aside
//	adopt     put a dead process's slots in order and release them
//	evacuate  move the blocks of sparse slabs to others, so that pages come free
//
// # Where a block is
//
// A block's bit in its slab's bitmap is clear while it is free. While the bit is
// set the block is in exactly one of these places, and Ledger proves it:
//
//	magazine  a slot's free blocks of a class, linked through their second words
//	log       allocated by a transaction that is not committed yet
//	live      reachable from the root
//	queue     retired, in the queue of the slot whose commit replaced it
//	aside     retired, and held by a pin or an intent when it was looked at
//
// Its first word says what its contents mean: the version that published it
// (the birth, below 2^48), the mark of the slot whose transaction may change it
// in place (bit 63), or that it is being given back to its slab (bit 62).
//
// # Who writes what
//
// A slot's page, the pages in its lists, and the blocks in its magazines and log
// are written by the slot's owner alone, or by the adopter of its dead owner,
// who holds the lock of the dead one's entry; so these are plain words whose
// program order counts. Everybody writes these, by atomics:
//
//	root      CAS by committers, from the version they pinned
//	end       raised, once the tables below it have memory
//	horizon   raised, before the scan of pins that precedes reuse
//	owners    0 → owner by CAS; owner ⇄ owner|idle by the owner, between its
//	          transactions, back by CAS; owner|idle → another by CAS, when space
//	          is short; owner|idle → owner by CAS, by the adopter; → 0 by the owner
//	          or its adopter
//	dir       by the holder of the slot: 0 → page|1 → page
//	hints     bits, by everybody; they only speed searches up. A searcher that
//	          found nothing in a group takes the group's hint down and looks once
//	          more, since somebody may have announced a page in between. Its entry
//	          names the group meanwhile: the adopter of a searcher that died there,
//	          and whoever finds no space, announces the group's pages again
//	keeper    by the handle whose turn to keep house it is, and by the next one when
//	          the time in it has passed; see keep.go
//	state     a page's: by CAS when it is free or shared, by its owner otherwise
//	bitmap    bits set by the slab's owner alone (one Or for each refill),
//	          cleared by whoever gives a block back
//	pins      version: 0 → version → 0 by their owner. Those of snapshots are
//	          taken before, 0 → owner by CAS, and given away when they are empty,
//	          owner → 0. The handle counts their users in its own memory: see pin.go
//
// # A death between any two instructions
//
// Each change of a slot's structures is one word that makes it so, with what it
// refers to written before; a block on its way from one list to another is in
// both for a moment, and recover finishes the move. What is not one word has a
// record in the slot, written first and dropped last:
//
//	record    pages being claimed, freed or taken over: what decides is whether
//	          they are linked into the slot yet, or still
//	refill    bits being set in a slab: all of them or none are
//	return    a block being given back: the bit, then the stamp, tell whether
//	          it was (rule B2)
//	intent    a commit: the root word, then the mark of being superseded, tell
//	          whether it happened (rule C2)
//
// recover does the same again if its own process dies: its steps look at the
// words, not at how far somebody said to have come.
//
// The rules that are cited as P1, C4 and so on:
//
//	P1  Pin: horizon, then root word; the version is the least from the horizon
//	    on that agrees with the word's 16-bit tag; publish it; the horizon must
//	    not be past it. Reclaimers raise the horizon before they look at pins,
//	    and free only what was retired up to it.
//	P2  A look at pins and intents judges only what was retired before it.
//	P3  Pins of slots and snapshots are looked at before anything durable.
//	P4  The pins of snapshots are maxSnapPins in all. A handle has one only while
//	    it uses it. Snapshots of one handle on one version share a pin, and so do
//	    all that it reads of one version when no pin is left. Without that it is
//	    refused, once the dead were looked for. Dead pins are also looked for when
//	    pins hold much, at doubling amounts.
//	C1  Commit: build; queue beyond the tail; births; intent (its tail is read
//	    only once it is committed, so the order of its two words is no matter);
//	    if the root is still the old one, mark that superseded; CAS; tail, log,
//	    intent.
//	C2  Judge an intent by the root word first, then by the mark. Committed:
//	    tail, log, intent. Not: intent first, then the log's blocks. What a
//	    committed log names may be anybody's by now: it is not looked at.
//	C3  While an intent is set, the log names what it publishes and the queue's
//	    new pages, and nothing else.
//	C4  After a lost CAS the new root is pinned like the first. What was copied
//	    from a node that is there still stands: the offset is equal, and the birth
//	    is not newer than the version that was pinned before.
//	C5  So does what was read there. Otherwise it is read again.
//	C6  A block is changed in place if it carries the slot's mark and is in its
//	    log, as a block of that size, and only then. What a lost commit keeps is published later, not
//	    changed, so it keeps the birth that it has been given until it gets the
//	    right one.
//	C7  A queue's link is believed only once the tail is beyond it.
//	C8  The intent names the old root as well, is visible before the look at the
//	    root word that precedes the mark, and keeps both roots from being reused.
//	    So the mark is never written to a block of somebody else, even if the pin
//	    was erased: slots can be written by readers, and nothing there may decide
//	    that a writer damages the data (rule D3).
//	C9  A transaction of one key holds no pin: it is light. What it reads may be reused
//	    meanwhile, so it checks all that it uses of a word, as an optimistic reader does.
//	    It is sound while the horizon is not past the version that it is built upon
//	    (P1 tells which that is). Nothing that a light transaction found counts if it
//	    was not sound afterwards: no result, no error, no block that it has built,
//	    and no rebase. Commit looks at the horizon after the intent and after the root
//	    word: then the old root is current, for the first time, and stays in its place.
//	    So a process that is stopped in a write of one key holds two root nodes.
//	B1  Refill by one Or of bits that the slot has noted, and of blocks that it
//	    has linked: what they carried is written over before.
//	B2  Give back: stamp, note, clear; see redoReturn.
//	B3  What readers may still see keeps its birth.
//	B4  A slot keeps at most one slab a class, a magazine, and the queue's lag;
//	    full set-aside pages and exhausted slabs are for anybody to take, and so
//	    is the slot itself while its owner does not use it.
//	B5  Pages are claimed by CAS on words whose generation rises with every
//	    change, so a late free or punch does nothing.
//	B6  A reserve of pages serves deletes, adoption, setting aside and evacuation
//	    only; who takes of it sees to it that it is filled up again. A death may
//	    leave its count wrong by one: the adopter counts it again. Before ErrFull
//	    everything that can be freed is, blocks of the class are looked for once
//	    more, and sparse slabs are emptied so that their pages can change their
//	    class.
//	B7  Evacuation moves a block by a commit, if the version that this follows
//	    reaches the block, and not what a snapshot holds. What it moves takes no
//	    space in what it empties. It looks at a bounded number of pages, moves a
//	    bounded number of blocks, and is not repeated while nothing has changed
//	    since it gained nothing.
//	B8  Nothing is given back to the file system in a commit. One handle at a time
//	    does that, the keeper, a little at a time, and only what nobody has used for
//	    settleTime: see keep.go. Who keeps is decided by a time, not by a lock. All
//	    that a keeper does is safe beside another one.
//	R1  The end is read after the root word.
//	R2  The horizon is checked before a length from shared memory allocates.
//	R3  On processors that reorder loads a barrier stands before that check.
//	H1  Who touches a handle's mappings or relies on its pins enters it first:
//	    count, then look whether it is closed. Close keeps others out; the last to
//	    leave ends the handle: pins, slots, entry, mappings. What a View calls is
//	    inside with it. Optimistic reads do not enter: a detached mapping reads as zeros, and a horizon of zero
//	    confirms nothing.
//	D1  A lock is tested through an opening of its own; one never tests itself.
//	D2  Who takes a dead entry first adopts every slot that carries it; an idle
//	    one is made one in use by CAS before, since others may take it as well.
//	    A handle that cannot write data cannot adopt. It does not take such an
//	    entry, and if there is no other it works without one.
//	D3  slots, which readers can write, holds nothing that leads to a free.
//	D5  Create under temporary names, both files with all their memory; then link
//	    slots before data, and never replace. Lack of space leaves nothing.
//	    A copy of a store is made in a directory of its own under a temporary
//	    name, which is renamed when the copy is on disk. Only a mark in it makes
//	    it one that others may remove when its maker is dead: see Draft.
//	D6  Rewrite under the locks of all entries, in such a directory, which is then
//	    exchanged with the old one, marked before. Who has taken an entry looks
//	    then whether the path still leads to where it is.
//	D7  What is a backup is never open for writing, for differences were or will be
//	    written since what it shows. Its maker fills a draft that is none yet, and
//	    sets the flag in the superblock before the draft gets its name; a
//	    replacement gets the flag of what it replaces. Open looks at the flag before
//	    it maps anything, and nobody ever takes it away.
//	D8  A writer begins no transaction more than a second after data has lost its
//	    name, for nobody who comes later could find what it writes: see nameCheck.
//	W1  Waiting: sequence, flag, look, sleep at most a second.
//
// What differs from the first plan of these rules, and why: a hint is set after
// the clear that it announces, not before, since a searcher that takes the hint
// down in between would lose it (the adopter sets it again if its slot died in
// between); a block that is given back is stamped before it is noted (see
// giveBack); the adopter of one who was giving a block back need not look at what
// the slab's owner is refilling, since stamps are written over before bits are
// set; and free blocks in a magazine are linked through the blocks, so
// that a magazine is one word, which a death cannot tear.
//
// # What a pin costs
//
// A retired block is looked at once when its turn in the queue comes, and set
// aside under the oldest pin in its life, found in O(log P) for P pins. It is
// looked at again when that pin is gone: so at most once for each pin that was
// in its life, O(P log P) in all, and once only when snapshots end in the order
// in which they began. A pass looks at four shared set-aside pages besides.
//
// # The format
//
// All words are 64 bits, little-endian. data:
//
//	0x00000  superblock, 512 bytes: magic, format version, geometry, maximum
//	         size, hash, seed (2), store id (2), creation time, and of a copy
//	         the id (2) and version that it shows, and at which version of its
//	         own; flags: 1 if it is a backup (in other stores, and where an older
//	         build made it, 0); the last word is the CRC-64/ECMA of the others
//	0x01000  root: offset of the root node | version<<48
//	0x01008  end of what may be touched, or 0 in what was rewritten
//	0x01010  since when there may be holes below the end, in Unix nanoseconds, or 0
//	0x01040  horizon
//	0x01080  hints, a word a segment
//	0x01200  free pages with memory, about
//	0x01240  pages in reserve, about
//	0x01280  gate: a large batch that asks for room, or 0
//	0x012c0  slots ever used
//	0x01300  sequence of new hints
//	0x01340  unused (older builds kept a hint there)
//	0x01380  keeper: until when a handle keeps house, in Unix nanoseconds, or 0
//	0x01388  since when idle pages are watched, in Unix nanoseconds, or 0
//	0x01390  the fewest free pages since then
//	0x02000  owners: a word a slot, entry+1 | 2^15 when idle | generation<<16 |
//	         claim<<48
//	0x03000  directory: a word a slot, the offset of its page (|1: being made)
//	0x04000  table of the first segment
//	         others start with theirs, at 1 MiB, 2 MiB, 4 MiB, …
//
// A table is a hint word for every 256 pages, rounded up to 64 bytes, then a
// descriptor of 64 bytes for every page: state (4 bits state, 8 class, 12 owner,
// 40 generation), bitmap (4 words), info (pages of a slab or run; in a slab's
// further pages the offset of the first). A page of zeros in a table is a
// segment of holes.
//
// The words of a slot's page stand in format.go. Words 24 to 31 count what was
// done in it (see Counts); nothing is decided by them, and where an older build
// made the page they are 0.
//
// A root node is 64 bytes: birth, superseded, and six words for the layer above.
//
// slots:
//
//	0x00000  magic, format version, geometry, store id (2), CRC-64/ECMA
//	0x00100  sequence of changes (its low half is the futex)
//	0x00108  1 when somebody may wait for it
//	0x00140  snapshot pins ever used
//	0x01000  256 entries of 64 bytes: state (generation<<8 | 1), pid, start,
//	         name (2), flags, group whose hints are being taken down; the lock
//	         is on the byte of the entry's number
//	0x05000  256 pins of slots, of 64 bytes: version
//	0x09000  512 pins of snapshots, of 32 bytes: version, owner, start
package alloc
