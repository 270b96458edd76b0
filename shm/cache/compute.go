package cache

import (
	"sync/atomic"
	"time"

	"github.com/seed-869cc763/shmkv/alloc/region"
	"github.com/seed-869cc763/shmkv/shm"
)

// Compute calls fn with the item of key and does what fn decides, in one step that no other
// write comes between. The zero Item and no exists mean that there is none. With shm.ActionSet
// the item that fn returns is written as SetItem does. An item with Token 0 gets a new token,
// and another one keeps the token that it has: an item that fn returns with the token that it
// got is not written anew, but changed, as by Touch, and stays stale if its region was
// invalidated. After an error of fn nothing is changed; Compute returns an error that wraps it,
// or shm.ErrNotFound as it is.
//
// Compute returns the item that there is then, without its value, and the zero Item if there
// is none. It does not count as a read.
//
// The value that fn gets is memory of the store: it is valid in fn only, and must not be
// written to. It may be part of what fn returns, which Compute copies. fn may run again, when
// another write came first or room was made. It may read the cache, and must not write to the
// store.
func (c *Cache) Compute(key []byte, fn func(it Item, exists bool) (Item, shm.Action, error)) (Item, error) {
	return c.change("computing", key, byUser, arguments{fn: fn})
}

func byUser(ch *change, was Item, exists bool) (Item, shm.Action, error) { return ch.fn(was, exists) }

// A decision is what a change makes of the item that there is.
type decision func(ch *change, was Item, exists bool) (Item, shm.Action, error)

// arguments are those of all decisions.
type arguments struct {
	fn     func(it Item, exists bool) (Item, shm.Action, error) // byUser
	next   Item                                                 // conditional
	cond   Condition                                            // conditional
	part   []byte                                               // appendPart, prependPart
	number uint64                                               // add, subtract
	ends   time.Time                                            // touch
	want   bool                                                 // touch: the value is appended to dst
	dst    []byte                                               // touch
}

// A change is a write that is under way, and what it needs. A handle keeps those that are not
// in use, so that most writes allocate nothing.
type change struct {
	c     *Cache
	lane  int    // where it is kept
	bytes []byte // of the item that is to be written
	apply func(old []byte, exists bool) ([]byte, shm.Action, error)

	key    []byte
	decide decision
	arguments
	rule    rule
	room    int64  // for how many bytes it has made room
	wants   int64  // for how many it has to, or 0
	failed  bool   // by an error of the decision
	sets    bool   // it writes an item
	refused bool   // because of Options.NoEvict
	existed bool   // there was an item before
	there   bool   // there is one afterwards
	made    tail   // its tail
	got     []byte // touch: dst with the value
	sum     uint64 // add, subtract
	digits  [maxDigits]byte
}

// change carries out a write that looks at the item before it decides.
func (c *Cache) change(op string, key []byte, decide decision, args arguments) (Item, error) {
	ch := c.borrow()
	defer c.giveBack(ch)
	err := ch.run(op, key, decide, args)
	if err != nil || !ch.there {
		return Item{}, err
	}
	return ch.item(), nil
}

// run carries out a change in one step.
func (ch *change) run(op string, key []byte, decide decision, args arguments) (err error) {
	c := ch.c
	ch.key, ch.decide, ch.arguments, ch.room = key, decide, args, 0
	if ch.rule, err = c.begin(); err != nil {
		return c.fail(op, key, err)
	}
	for round := 0; ; {
		ch.wants, ch.failed, ch.refused, ch.existed, ch.there, ch.sets = 0, false, false, false, false, false
		err := c.items.Compute(key, ch.apply)
		if ch.wants > 0 {
			ch.room = ch.wants
			c.admit(ch.room)
			continue
		}
		if ch.failed {
			return c.fail(op, key, err)
		}
		if err == nil && ch.sets {
			c.sweepSome()
		}
		if ch.refused || !c.again(err, ch.room, round) {
			return c.full(op, key, ch.room, err)
		}
		round++
	}
}

// item returns the item that there is after the change, without its value.
func (ch *change) item() Item { return ch.made.item(nil, ch.rule, ch.c.clock.now()) }

// step is the function of the change's Compute.
func (ch *change) step(old []byte, exists bool) ([]byte, shm.Action, error) {
	c := ch.c
	value, t, there, err := c.present(old, exists)
	if err != nil {
		return nil, shm.ActionKeep, err
	}
	var was Item
	if there {
		was = t.item(value, ch.rule, c.clock.now())
	}
	ch.there, ch.existed, ch.made, ch.sets = there, there, t, false
	it, do, err := ch.decide(ch, was, there)
	if ch.failed = err != nil; ch.failed || do == shm.ActionKeep {
		return nil, shm.ActionKeep, err
	}
	if do != shm.ActionSet {
		ch.there = false
		return nil, do, nil
	}
	ch.there, ch.sets, ch.made = true, true, it.tail(ch.rule)
	if it.Token != 0 {
		ch.made.token = it.Token
		if it.Token == was.Token {
			ch.made.generation = t.generation
		}
	}
	ch.bytes = ch.made.appendTo(append(ch.bytes[:0], it.Value...))
	if ch.made.expires != 0 {
		c.hasExpiry()
	}
	return ch.bytes, shm.ActionSet, ch.fits(len(old), exists)
}

// fits finds out whether there is room for the item, or returns an error so that room is made.
func (ch *change) fits(old int, exists bool) error {
	c := ch.c
	need, err := c.needOf(len(ch.key), len(ch.bytes))
	if err != nil {
		return err
	}
	if need > ch.room {
		if c.over(need) {
			ch.wants = need
			return shm.ErrFull
		}
		ch.room = need
	}
	if c.noEvict {
		if exists {
			need -= bytesOf(len(ch.key), old)
		}
		if ch.refused = need > 0 && c.over(need); ch.refused {
			return shm.ErrFull
		}
	}
	return nil
}

// admit makes room for a write that needs so many bytes. It reports whether the write may be
// carried out; without Options.NoEvict it may. With it, only items that have expired make
// room, and a sample need not contain one, so admit takes several.
func (c *Cache) admit(need int64) bool {
	c.makeRoom(need)
	for range roomRounds {
		if !c.noEvict || !c.over(need) {
			return true
		}
		c.makeRoom(need)
	}
	return !c.over(need)
}

// over reports whether the store would have more live blocks than the target after a write
// that needs so many bytes. See makeRoom.
func (c *Cache) over(need int64) bool {
	live, settled := c.store.LiveBytes()
	return settled && live+need > c.target()
}

// changes are the changes of a handle that are not under way, by the lanes of goroutines.
type changes [64]atomic.Pointer[change]

// keepBuffer is how many bytes of memory for an item are kept.
const keepBuffer = 64 << 10

// borrow returns a change, which goes back to the lane that it comes from: the caller may be in
// another one by then, if its stack reaches over the end of a page.
func (c *Cache) borrow() *change {
	lane := region.Lane() % len(c.changes)
	ch := c.changes[lane].Swap(nil)
	if ch == nil {
		ch = &change{c: c}
		ch.apply = ch.step
	}
	ch.lane = lane
	return ch
}

func (c *Cache) giveBack(ch *change) {
	if cap(ch.bytes) <= keepBuffer {
		ch.key, ch.got, ch.arguments = nil, nil, arguments{}
		c.changes[ch.lane].Store(ch)
	}
}
