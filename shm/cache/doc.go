// Package cache is a cache in a store of package shm: several processes use it at once, and it
// is warm after all of them were restarted. Items expire, memory is bounded, and each call is
// one step among all processes.
//
//	c, err := cache.Open("/dev/shm/pages", &cache.Options{Bytes: 1 << 30})
//	page, err := c.GetOrCreate(ctx, key, render, cache.WithTTL(time.Hour))
//
// Most programs need GetOrCreate: of all who ask for a missing value, in whatever process, one
// creates it. SetItem is the write with all conditions, and Compute the one that decides by what
// there is. View shows all items of one version. Typed is a cache with Go types.
//
// # Terms
//
//	item        a value with flags, expiry and token, under a key
//	region      a named map of the store that has the items of a cache
//	token       identifies the write that made an item what it is; drawn at random
//	expire      end by time: an item whose time has come is returned by no call
//	stale       old but usable: an item that is returned, and says so
//	evict       delete an item to make room
//	flush       empty a region
//	claim       the right to create the value of a key, which one caller has at a time
//	bound       the most bytes that the files of the store may take
//	sketch      how often keys were read lately, and when last, about
//
// # An item
//
// An item is an entry of the region's map: the value, then its tail of Overhead bytes. It is
//
//	absent   no entry, or one whose expiry has come
//	fresh    an entry that is neither of the others
//	stale    its StaleAfter has come, or its region was invalidated softly since it was written
//
// A write replaces the whole entry in one commit of the store. Writes that look at the item
// first, which are those with a condition, Delete, Touch, Increment and the like, are a Compute
// with a fixed decision: no other commit comes between look and write. So calls of all processes
// happen one by one, each at a moment while it runs. A process that is killed has made its commit
// or not, and leaves nothing else but its claims: there is no lock.
//
// # Creation
//
// A claim is an entry of the map ClaimsPrefix + region. It is
//
//	free      no entry, or one whose owner has died or whose time has passed
//	held      by a live owner, until its time, which the owner's process renews
//	failed    for 10 seconds after a creation without a value, for those who wait for it
//	absent    the key is known to have no value, for as long as WithAbsentTTL says
//
// A caller takes a free claim by one compare-and-swap, and the commit that stores the item
// deletes the claim. Those who wait sleep on the bell of the key, and look ten times a second
// whether the owner's process lives. So a creator that is killed leaves a free claim, and one
// that is late finds that the claim has another number, and stores nothing. See claim.
//
// # Time
//
// Expiry is compared with the clock of whoever asks, which is at most a millisecond late. When
// the system's time jumps, items expire earlier or later. An expired entry takes space until
// it is deleted: by an eviction, by writers, which look at a few entries now and then, and by
// one handle of all processes, which goes through the map in the background and takes at most
// one percent of a processor.
//
// # Flush and invalidation
//
// A flush drops the region's map in one commit. That needs no clock, and reads do not notice:
// who reads the new version finds another map. What is left is taken apart by the commits that
// follow. A flush at a time to come, and the number of soft invalidations, stand in the region's
// record in the map RegionsMap. Each call looks whether the version of the store is the one of
// which it knows the record, and reads it again if not. The first call of any process that finds
// that the time of a flush has come drops the map and clears that time, in one commit. An item
// has the number of soft invalidations at its write in its tail, and is stale once the record
// has another one.
//
// # The bound
//
// Options.Bytes bounds the lengths of the files data, procs and hints together, at every moment,
// whatever processes do or leave when they die: a write by a handle of the cache never makes
// data longer than its part. So blocks that were replaced and are not free yet count, and so do
// other maps of the store. (A store of New with a larger MaxSize can grow by writes of other
// handles, and one that is longer already stays so.)
//
// A write that would find the live blocks of the store near the bound first deletes items. It
// takes a random sample, of which it deletes those that have expired, and of the others those
// that are worth less than a limit for each byte that they take. What items are worth is learned
// from the hits on items that were read as often and as long ago: see hazards. The limit adapts
// itself so that on average one in six goes. The new item is always stored. (With NoEvict the
// write fails instead.) How near is near adapts itself: see room. With eight writers in a store
// of 16 MiB about half of it is live items, with one about seven eighths. A write that finds no
// space all the same deletes more, some rounds, and then returns shm.ErrFull.
//
// # The sketch
//
// The sketch is the file hints beside data. Each read writes two counts of it, one in sixteen
// two sums too, and nothing else that others see. It may contain anything: the cache then
// evicts other items. See sketch.
//
// # Cost
//
// Measured in time of the processor, as medians of ratios of runs in turns: a hit by Append takes
// 1.07 times a Get among 100,000 entries, 1.14 if the item can expire, and among 1,000, where a Get
// takes 47 ns, 15 to 22 ns more. A Set of a new item that evicts takes 1.4 to 1.8 times one that
// need not (BenchmarkHit, BenchmarkEvict, docs/cache.md).
package cache
