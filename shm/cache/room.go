package cache

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"github.com/seed-869cc763/shmkv/shm"
)

// A room is how a handle keeps the bound.
//
// The file data cannot become longer than the bound, so a write that would need more fails.
// To keep writes from coming to that, a handle evicts items before it writes, when the live
// blocks of the store are more than the bound less a slack. The slack is for what is not live:
// blocks that were replaced and are not free yet, free blocks in slabs and in the hands of
// writers, tables. How much that is depends on the sizes of the items and on the number of
// writers. So a write that fails makes the slack larger, and evictions make it smaller again,
// by much less.
type room struct {
	bytes atomic.Int64 // the bound of the file data
	slack atomic.Int64 // without a sketch; else a word of the sketch

	mu      sync.Mutex // of who evicts; see unlockRoom
	choices choices
	evicted []evicted // since mu was locked, if there are listeners
}

const (
	// sideBytes is what the files of a store but data and the sketch take at most.
	sideBytes = 64 << 10
	// dataUnit is what the size of the file data is a multiple of, at most.
	dataUnit = 64 << 10
	// The slack is at first, and at least, a leastSlack'th of the bound, and at most half. A
	// write that fails makes it a slackStep'th of the bound larger. With a tenth, a set in a
	// cache of 6 MiB took a fifth longer, in search of free pages, and no more reads hit.
	leastSlack = 8
	slackStep  = 32
	// Each eviction makes the slack smaller by a slackDecay'th of the bound.
	slackDecay = 1 << 18
	// An eviction frees at least a batch'th of the bound, if one in goes of the sample is as
	// large as that: so not every write evicts.
	batch = 2048
	// An item may take a largest'th of the bound at most: a large block needs pages beside
	// each other.
	largest = 8
	// A write that finds no space evicts and is tried again fullRounds times at most.
	fullRounds = 8
	// A write evicts at most that often before it is tried for the first time.
	roomRounds = 8
)

// dataBytes returns the bound of the file data in a cache with this bound.
func dataBytes(bytes int64) int64 { return bytes - sideBytes - sketchBytes(bytes) }

// limit sets the bound. 0 means the MaxSize of the store.
func (c *Cache) limit(bytes int64) error {
	r := &c.room
	bound := c.store.Stats().MaxSize
	if bound == 0 {
		return fmt.Errorf("cache: opening a region of %s: %w", c.store.Path(), shm.ErrClosed)
	}
	if bytes != 0 {
		data := dataBytes(bytes)
		if m := c.sketch.mem; m.Valid() { // it has the size of an earlier bound
			data = max(bytes-sideBytes-int64(m.Size()), dataBytes(MinBytes))
		}
		bound = min(bound, data)
		c.store.SetBound(bound)
	}
	r.bytes.Store(bound)
	r.slack.Store(bound / leastSlack)
	return nil
}

// target is how many bytes of live blocks the store may have before a write evicts.
func (c *Cache) target() int64 { return c.room.bytes.Load() - c.slack() }

// slack returns the slack, whatever is in the sketch.
func (c *Cache) slack() int64 {
	s, bound := c.room.slack.Load(), c.room.bytes.Load()
	if shared, ok := c.sketch.slack(); ok {
		s = shared
	}
	if s == 0 {
		s = bound / leastSlack
	}
	return min(max(s, bound/leastSlack), bound/2)
}

func (c *Cache) setSlack(s int64) {
	c.room.slack.Store(s)
	c.sketch.setSlack(s)
}

// bytesOf is about how many bytes of blocks an item takes.
func bytesOf(keyLen, itemLen int) int64 {
	n := int64(keyLen) + int64(itemLen)
	return n + n/8 + 64
}

// needOf is bytesOf for an item that is to be written. It refuses one for which other items
// would be evicted in vain.
func (c *Cache) needOf(keyLen, itemLen int) (int64, error) {
	need, bound := bytesOf(keyLen, itemLen), c.room.bytes.Load()
	if need > bound/largest {
		return 0, fmt.Errorf("%w: found an item that takes %d bytes, expected at most %d in a cache with a bound of %d",
			shm.ErrTooLarge, need, bound/largest, bound)
	}
	return need, nil
}

// makeRoom evicts items if the store would have too many live blocks after a write that needs
// so many bytes. Another goroutine that does so already does it for both.
func (c *Cache) makeRoom(need int64) {
	live, settled := c.store.LiveBytes()
	over := live + need - c.target()
	// While dropped maps are taken apart, each write frees more than it takes.
	if over <= 0 || !settled || !c.room.mu.TryLock() {
		return
	}
	defer c.unlockRoom()
	for range roomRounds {
		freed, err := c.evict(max(over, c.room.bytes.Load()/batch))
		if over -= freed; over <= 0 || freed == 0 || err != nil {
			return
		}
	}
}

// makeMoreRoom evicts items because the store had no space for a write, more in each round. It
// reports whether the write should be tried again.
func (c *Cache) makeMoreRoom(need int64, round int) bool {
	if round == fullRounds {
		return false
	}
	r := &c.room
	r.mu.Lock()
	defer c.unlockRoom()
	if round == 0 {
		c.setSlack(min(c.slack()+r.bytes.Load()/slackStep, r.bytes.Load()/2))
	}
	want := max(2*need, 64<<10) << min(round, 3)
	sum := int64(0)
	for sum < want {
		freed, err := c.evict(max(want-sum, c.room.bytes.Load()/batch))
		if sum += freed; freed == 0 || err != nil {
			break
		}
	}
	_, settled := c.store.LiveBytes()
	return sum > 0 || !settled
}

// evict makes one transaction that deletes some of a random sample of items: those that have
// expired, and of the others those that are worth the least, until about want bytes are free.
// The caller has room.mu.
func (c *Cache) evict(want int64) (freed int64, err error) {
	ch, gone := &c.room.choices, c.room.evicted
	c.sketch.addTime(0, 1) // and learn what it is
	var r rule
	listens := len(c.listeners.get()) > 0
	if listens {
		if r, err = c.rules(); err != nil {
			return 0, err
		}
	}
	choose := func(tx *shm.Tx) error {
		ch.begin(c, want)
		m := tx.Map(c.region)
		for key, b := range m.AllFrom(rand.Uint64()) {
			if ch.add(key, b); ch.full() {
				break
			}
		}
		if !ch.full() { // it began near the end, or there are few
			n := len(ch.samples)
			for key, b := range m.AllFrom(0) {
				if n > 0 && bytes.Equal(key, ch.samples[0].key) {
					break // the sample has this item and those behind it
				}
				if ch.add(key, b); ch.full() {
					break
				}
			}
		}
		if err := tx.Err(); err != nil {
			return err
		}
		ch.choose()
		if listens {
			c.room.evicted = ch.appendEvicted(gone, r)
		}
		for _, v := range ch.victims {
			if _, err := m.Delete(v.key); err != nil {
				return err
			}
		}
		return nil
	}
	if listens { // what is copied for them must be as long as it says
		err = c.store.Update(choose)
	} else {
		err = c.store.UpdateUnpinned(choose)
	}
	if err != nil {
		c.room.evicted = gone
		return 0, err
	}
	c.stats.evictions.Add(ch.evicted)
	c.stats.expirations.Add(ch.expired)
	if s := c.slack(); s > c.room.bytes.Load()/leastSlack {
		c.setSlack(s - max(c.room.bytes.Load()/slackDecay, 1))
	}
	return ch.freed, nil
}

// full adds the reason to an error for lack of space.
func (c *Cache) full(op string, key []byte, need int64, err error) error {
	if !errors.Is(err, shm.ErrFull) {
		return c.fail(op, key, err)
	}
	st, items := c.store.Stats(), c.items.Len()
	why := ""
	switch {
	case c.noEvict:
		why = "Options.NoEvict forbids to evict items"
	case items > 0:
		why = "snapshots, or a checkpoint, hold what was evicted"
	case st.Entries > 0:
		why = fmt.Sprintf("other maps have %d entries of %d bytes", st.Entries, st.DataBytes)
	default:
		why = "snapshots hold what was deleted"
	}
	return c.fail(op, key, fmt.Errorf("%w: found no room for about %d bytes within the bound of %d, with %d items, %d live bytes and %d free ones: %s",
		err, need, c.room.bytes.Load(), items, st.LiveBytes, st.FreeBytes, why))
}
