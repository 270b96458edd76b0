// Package layout is the format of a store: where each word of its files stands,
// and what the words mean. It holds numbers and pure functions, and it does not touch a
// store that is in use.
//
// # Terms
//
//	page     4 KiB of data
//	segment  a doubling of data: [0, 1 MiB), [1, 2), [2, 4), …; each starts with its table
//	table    the hint words and the descriptors of a segment's pages
//	slab     1 to 13 pages that are cut into blocks of one size class
//	run      pages that are one block of more than 32 KiB
//	hint     a bit that says that a page of a kind may be found here
//
// # The file data
//
// All words are 64 bits, little-endian.
//
//	0x00000  superblock, 512 bytes: magic, format version, geometry, maximum size,
//	         hash, seed (2), store id (2), creation time, and of a copy the id (2) and
//	         the version that it shows, and its own version that shows it; flags:
//	         1 for a backup. The last word is the CRC-64/ECMA of the others.
//	0x01000  root: RootWord
//	0x01008  end: bytes of the file that may be touched, or 0 after a rewrite
//	0x01010  since when there may be holes below the end, in Unix nanoseconds, or 0
//	0x01040  horizon
//	0x01080  hints, a word a segment
//	0x01200  free pages with memory, an estimate
//	0x01240  pages in reserve, an estimate
//	0x01280  gate: Gate, or 0
//	0x012c0  number of slots that were ever used
//	0x01300  sequence of new hints
//	0x01380  keeper: until when a handle keeps house, in Unix nanoseconds, or 0
//	0x01388  since when idle pages are watched, in Unix nanoseconds, or 0
//	0x01390  the fewest free pages since then
//	0x01400  kept: the version of the newest checkpoint that is on disk, or 0
//	0x01408  keeping: the version of the checkpoint that is being taken, or 0
//	0x01410  number of checkpoints that were taken, and how long that took in nanoseconds
//	0x01420  durable: the newest version that survives a crash of the system: kept, or that
//	         of the last record of the journal
//	0x01428  of the journal: the checksum of the checkpoint that it follows, or 0; where the
//	         next record begins; the checksum of the last record, or of the checkpoint
//	0x01440  boot: BootWord of those who have the store open for writing, or 0
//	0x01448  raised while a process recovers the store
//	0x01450  when the system could not write data to the disk, in Unix nanoseconds, or 0
//	0x01458  home: identifies the file that data was when all of it was last on disk, or 0
//	0x02000  owners: an Owner for each slot, or 0
//	0x03000  directory: the offset of each slot's page, or 0; bit 0 is set while the
//	         page is being made
//	0x04000  checkpoints: two pages that are written in turn, each a Checkpoint or zeros
//	0x06000  table of the first segment
//	         others start with theirs, at 1 MiB, 2 MiB, 4 MiB, …
//
// A table is a hint word for every 256 pages, rounded up to 64 bytes, then a descriptor of
// 64 bytes for every page:
//
//	0   state: PageState
//	8   bitmap of a slab, 4 words: the bit of a block is clear while the block is free
//	40  info: in the first page of a slab or run the number of its pages, in further
//	    pages of a slab the offset of the first
//
// A table of zeros describes a segment of holes.
//
// A slot's page has these words; SlotIntent and the names that follow it tell them apart:
//
//	0        number of the slot, plus 1
//	1        intent: the offset of the new root node, or 0
//	2        the queue's tail after the intended commit
//	3, 4     the queue's head and tail: Place
//	5        the log's end: Place
//	6 to 9   record of pages: Record, number of pages, generation of the further pages
//	         and of the first
//	10, 11   refill: the offset of a bitmap word, or 0; its bits
//	12       the deferred page that is being drained, or 0
//	13, 14   the block that is being given back: Item, or 0; the block below it in its
//	         magazine
//	15       the root node that the intended one replaces
//	16 to 23 open deferred pages
//	24 to 31 counters, by which nothing is decided
//	32 to 110   the slab of each class, or 0
//	112 to 190  the top of each class's magazine, or 0
//	192 to 511  the first items of the log
//
// A root node is 88 bytes: the version that it is of, the mark of being superseded (0 or 1),
// and nine words for the layer above, which are in package shm: of the unnamed map the number
// of entries, then the bytes of all live blocks, of the unnamed map the bytes of keys and
// values and the reference of its trie (package hamt), the references of the directory and
// of the trie of dropped maps, the entries and the bytes of keys and values of all named
// maps, and the digest of all entries with a checksum.
//
// A queue page and a deferred page have: the next page of a queue, what holds the blocks of a
// deferred page, the number of its items, an unused word, then pairs of an Item and the
// version that retired it. A log page has the page before it, then Items.
//
// # The file procs
//
//	0x00000  magic, format version, geometry, store id (2), CRC-64/ECMA
//	0x00100  sequence of changes; its low half is the futex
//	0x00108  1 when somebody may wait for it
//	0x00140  number of snapshots' pins that were ever used
//	0x00180  BootWord of the boot that the procs and pins are of
//	0x00800  64 bells of 32 bytes: BellWord, whose low half is a futex. Each number means
//	         as much as another, so bells outlive their boot.
//	0x01000  256 procs of 64 bytes: state (ProcWord), process id, start, name (2),
//	         flags (1: read-only), and the group whose hints are being taken down. The
//	         lock of a proc is on the byte of its number.
//	0x05000  256 pins of slots, of 64 bytes: version, or 0
//	0x09000  512 pins of snapshots, of 32 bytes: version, or 0; Owner; start
//
// # The file journal
//
// The file has 8 MiB. A store that nobody has opened for durable commits has none. Records
// begin at multiples of 512, the first at 0: see JournalRecord. What follows the last one
// means nothing.
package layout
