// Package counter is sorted sets of counters in a store of package shm: several processes add
// to the same counters at once, and read them by key, by rank, or in the order of their counts.
//
//	pages := counter.Open(s, "pages")
//	now, err := pages.Add([]byte("/index"), 1)
//	top, err := pages.Range(0, 10) // the ten greatest counts
//
// # Terms
//
//	keyspace   a named set of counters
//	counter    a key, of any bytes, with a count
//	count      an int64; 0 is a count like others
//	place      the key of a counter in the order: its count and its key, as bytes
//	order      the ordered map of places
//	summary    the entry of the order with the empty key: it has the sum of all counts
//
// # Format
//
// A keyspace is two named maps of the store. N is its name, or if that is longer than 240 bytes,
// the hexadecimal SHA-256 of the name, with # in place of the colon.
//
//	counter.counts:N   hash map      key -> count
//	counter.order:N    ordered map   place -> nothing; empty key -> summary
//
//	count     8 bytes, little-endian
//	place     1 byte: 0x7f less L; of a negative count 0x80 and L
//	          L bytes, big-endian: the lowest ones of the complement of the count, as few as
//	          tell it: none of 0 and -1, one of 255 and -256
//	          the key
//	summary   16 bytes, little-endian: the sum, in two's complement
//	          the name of the keyspace, if it is longer than 240 bytes
//
// The bytes of places ascend while counts descend, and those of one count are in the order of
// the keys' bytes. A place is up to nine bytes longer than the key, so MaxKey is shm.MaxKey less
// nine. Places have few bytes before the key, because package btree compares their first eight
// before all others: with eight bytes of count, batches of small counts took 10 to 25 percent
// longer. The sum has 128 bits, which no number of counters makes overflow.
//
// # Invariants
//
//   - O1: Each entry of the map of counts has its place in the order, and each place its entry.
//   - O2: The summary is there from the first counter on, and has the sum of all counts.
//
// Check proves them. A call that finds one of them broken, which only a program can cause that
// writes to the maps by other means, returns an error that matches shm.ErrCorrupt.
//
// # What a kill leaves
//
// Each call that changes something is one commit of the store, which changes both maps and the
// summary. It decides on the version that it replaces: if another commit came first, it runs
// again. So increments of all processes add up exactly. A process that is killed
//
//	before its commit        leaves the counters as they were
//	after its commit         has added, whether or not its caller was told
//
// and nothing else: there is no lock, and no state outside of the maps. An error of a call means
// that it has changed nothing, unless it matches shm.ErrFlush: with shm.EveryCommit, the commit
// was made then and is not durable.
//
// # Cost
//
// Get, Len and Sum take the time of one lookup, Rank that of two, and Range that of one and of a
// step for each counter. A change writes two maps and the summary: a batch of a thousand
// increments takes a fraction of the time of a thousand Adds, the less the more of them are of
// the same counters. The benchmarks of the package measure both.
package counter
