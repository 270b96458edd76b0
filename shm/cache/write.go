package cache

import (
	"errors"
	"fmt"
	"time"

	"github.com/seed-869cc763/shmkv/shm"
)

// A Condition is what an item must be for SetItem to write it.
type Condition uint8

// The conditions of SetItem.
const (
	Always    Condition = iota
	IfAbsent            // else shm.ErrExist
	IfPresent           // else shm.ErrNotFound
	IfToken             // the item has the Token of the new one; else ErrToken, or shm.ErrNotFound
)

// Set makes value the value of key. It ends after ttl; 0 means Options.TTL, and less than 0
// never. The value is copied.
func (c *Cache) Set(key, value []byte, ttl time.Duration) error {
	_, err := c.SetItem(key, Item{Value: value, Expires: c.ends(ttl)}, Always)
	return err
}

// Add is Set for a key that is not in the cache. If it is, Add returns an error that matches
// shm.ErrExist.
func (c *Cache) Add(key, value []byte, ttl time.Duration) error {
	_, err := c.SetItem(key, Item{Value: value, Expires: c.ends(ttl)}, IfAbsent)
	return err
}

// Replace is Set for a key that is in the cache. If it is not, Replace returns
// shm.ErrNotFound.
func (c *Cache) Replace(key, value []byte, ttl time.Duration) error {
	_, err := c.SetItem(key, Item{Value: value, Expires: c.ends(ttl)}, IfPresent)
	return err
}

// CompareAndSwap is Set for an item that has this token still. If it was written since, the
// error matches ErrToken, and if it is not there, it is shm.ErrNotFound.
func (c *Cache) CompareAndSwap(key []byte, token uint64, value []byte, ttl time.Duration) error {
	_, err := c.SetItem(key, Item{Value: value, Token: token, Expires: c.ends(ttl)}, IfToken)
	return err
}

// ends returns when an item with this time to live expires.
func (c *Cache) ends(ttl time.Duration) time.Time {
	if ttl == 0 {
		ttl = c.ttl
	}
	if ttl <= 0 {
		return time.Time{}
	}
	return time.Unix(0, c.clock.now()).Add(ttl)
}

// SetItem writes an item with all that belongs to it, if the condition holds, and returns
// its token. Options.TTL does not count: an item without Expires stays until it is evicted.
// The condition and the write are one step among all processes. The value is copied. An item
// may take an eighth of the bound at most, else the error matches shm.ErrTooLarge. If no room
// can be made for it, the error matches shm.ErrFull and says why.
func (c *Cache) SetItem(key []byte, it Item, cond Condition) (token uint64, err error) {
	const op = "setting"
	if cond != Always || c.noEvict {
		made, err := c.change(op, key, conditional, arguments{next: it, cond: cond})
		return made.Token, err
	}
	r, err := c.begin()
	if err != nil {
		return 0, c.fail(op, key, err)
	}
	t := it.tail(r)
	if t.expires != 0 {
		c.hasExpiry()
	}
	ch := c.borrow()
	ch.bytes = t.appendTo(append(ch.bytes[:0], it.Value...))
	err = c.set(op, key, ch.bytes)
	c.giveBack(ch)
	if err != nil {
		return 0, err
	}
	c.sweepSome()
	return t.token, nil
}

// set sets the bytes of an item. It is a write without a look at the item that there is.
func (c *Cache) set(op string, key, item []byte) error {
	need, err := c.needOf(len(key), len(item))
	if err != nil {
		return c.fail(op, key, err)
	}
	for round := 0; ; round++ {
		c.makeRoom(need)
		if err := c.items.Set(key, item); !c.again(err, need, round) {
			return c.full(op, key, need, err)
		}
	}
}

// conditional writes the item of the arguments, on their condition.
func conditional(ch *change, was Item, exists bool) (Item, shm.Action, error) {
	it := ch.next
	err := ch.cond.check(exists, was.Token, it.Token)
	it.Token = 0
	return it, shm.ActionSet, err
}

// check returns the error of a condition that does not hold.
func (cond Condition) check(there bool, found, expected uint64) error {
	switch {
	case cond == IfAbsent && there:
		return shm.ErrExist
	case (cond == IfPresent || cond == IfToken) && !there:
		return shm.ErrNotFound
	case cond == IfToken && found != expected:
		return fmt.Errorf("%w: found %d, expected %d", ErrToken, found, expected)
	case cond > IfToken:
		return fmt.Errorf("found the condition %d, expected one of Always to IfToken", cond)
	}
	return nil
}

// begin begins a write: it returns the rule of the region, after a flush that is due.
func (c *Cache) begin() (rule, error) {
	r, err := c.rules()
	if err == nil && r.flushAt != 0 && has(r.flushAt, c.clock.now()) {
		err = c.flushDue(r)
	}
	return r, err
}

// present takes an entry apart in the function of a Compute. An item that has expired is
// not there.
func (c *Cache) present(old []byte, exists bool) (value []byte, t tail, there bool, err error) {
	if !exists {
		return nil, t, false, nil
	}
	if value, t, err = split(old); err != nil {
		return nil, t, false, err
	}
	return value, t, t.expires == 0 || !has(t.expires, c.clock.now()), nil
}

// write carries out a write that needs about that many bytes, and makes room for it.
func (c *Cache) write(op string, key []byte, need int64, do func() error) error {
	for round := 0; ; round++ {
		c.makeRoom(need)
		if err := do(); !c.again(err, need, round) {
			return c.full(op, key, need, err)
		}
	}
}

// again reports whether a write that ended with an error is to be tried again, after it has
// made room.
func (c *Cache) again(err error, need int64, round int) bool {
	return err != nil && errors.Is(err, shm.ErrFull) && c.makeMoreRoom(need, round)
}
