package cache

import (
	"bytes"
	"fmt"
	"strconv"
	"time"

	"github.com/seed-869cc763/shmkv/shm"
)

// AppendValue puts part behind the value of key, and returns the item's new token. Flags,
// marks and expiry stay as they are. Without an item the error is shm.ErrNotFound.
func (c *Cache) AppendValue(key, part []byte) (token uint64, err error) {
	it, err := c.change("appending to", key, appendPart, arguments{part: part})
	return it.Token, err
}

// PrependValue is AppendValue with part before the value.
func (c *Cache) PrependValue(key, part []byte) (token uint64, err error) {
	it, err := c.change("prepending to", key, prependPart, arguments{part: part})
	return it.Token, err
}

func appendPart(ch *change, was Item, exists bool) (Item, shm.Action, error) {
	return ch.joined(was, exists, was.Value, ch.part)
}

func prependPart(ch *change, was Item, exists bool) (Item, shm.Action, error) {
	return ch.joined(was, exists, ch.part, was.Value)
}

// joined replaces the value of an item by one of two parts.
func (ch *change) joined(it Item, exists bool, first, second []byte) (Item, shm.Action, error) {
	ch.bytes = append(append(ch.bytes[:0], first...), second...)
	return ch.rewritten(it, exists, ch.bytes)
}

// rewritten is the decision to give an item, which must be there, another value and token.
func (ch *change) rewritten(it Item, exists bool, value []byte) (Item, shm.Action, error) {
	if !exists {
		return Item{}, shm.ActionKeep, shm.ErrNotFound
	}
	it.Value, it.Token = value, 0
	return it, shm.ActionSet, nil
}

// Touch makes the item of key end after ttl from now, as Set does; its token stays. Without
// an item the error is shm.ErrNotFound.
func (c *Cache) Touch(key []byte, ttl time.Duration) error {
	_, err := c.change("touching", key, touch, arguments{ends: c.ends(ttl)})
	return err
}

// GetAndTouch is Touch, and returns the item with its new end.
func (c *Cache) GetAndTouch(key []byte, ttl time.Duration) (Item, error) {
	return c.AppendAndTouch(nil, key, c.ends(ttl))
}

// AppendAndTouch is GetAndTouch for callers that have memory for the value, as AppendItem is
// Get: it appends the value to dst. It makes the item end at a time; zero means never.
func (c *Cache) AppendAndTouch(dst, key []byte, expires time.Time) (Item, error) {
	seen := c.sketch.at(key)
	ch := c.borrow()
	defer c.giveBack(ch)
	err := ch.run("touching", key, touch, arguments{ends: expires, want: true, dst: dst})
	if err == shm.ErrNotFound {
		c.note(seen, laneMisses)
	}
	if err != nil {
		return Item{Value: dst}, err
	}
	c.note(seen, laneHits)
	it := ch.item()
	it.Value = ch.got
	return it, nil
}

func touch(ch *change, was Item, exists bool) (Item, shm.Action, error) {
	if !exists {
		return Item{}, shm.ActionKeep, shm.ErrNotFound
	}
	if ch.want {
		ch.got = append(ch.dst, was.Value...)
	}
	was.Expires = ch.ends
	return was, shm.ActionSet, nil
}

// Delete removes the item of key, and reports whether there was one.
func (c *Cache) Delete(key []byte) (existed bool, err error) {
	ch := c.borrow()
	defer c.giveBack(ch)
	err = ch.run("deleting", key, remove, arguments{})
	return ch.existed && err == nil, err
}

func remove(*change, Item, bool) (Item, shm.Action, error) { return Item{}, shm.ActionDelete, nil }

// Increment adds n to the number that the value of key is, and returns the sum. It follows
// the rules of memcached: the value is a decimal number of 64 bits without a sign, and the
// sum begins again at 0 beyond the greatest one. A number that gets fewer digits keeps its
// length, by spaces behind it. Flags, marks and expiry stay as they are. Without an item the
// error is shm.ErrNotFound, and for another value it matches ErrNotNumber.
func (c *Cache) Increment(key []byte, n uint64) (now uint64, err error) {
	return c.count("incrementing", key, add, n)
}

// Decrement subtracts n, as Increment adds it. The difference is never less than 0.
func (c *Cache) Decrement(key []byte, n uint64) (now uint64, err error) {
	return c.count("decrementing", key, subtract, n)
}

// maxDigits is the length of the largest number.
const maxDigits = 20

func (c *Cache) count(op string, key []byte, decide decision, n uint64) (now uint64, err error) {
	ch := c.borrow()
	defer c.giveBack(ch)
	if err := ch.run(op, key, decide, arguments{number: n}); err != nil {
		return 0, err
	}
	return ch.sum, nil
}

func add(ch *change, was Item, exists bool) (Item, shm.Action, error) {
	n, err := numberOf(was.Value)
	return ch.counted(was, exists, n+ch.number, err)
}

func subtract(ch *change, was Item, exists bool) (Item, shm.Action, error) {
	n, err := numberOf(was.Value)
	return ch.counted(was, exists, n-min(n, ch.number), err)
}

// numberOf returns the number that a value is.
func numberOf(value []byte) (uint64, error) {
	n, err := strconv.ParseUint(string(bytes.TrimRight(value[:min(len(value), maxDigits+1)], " ")), 10, 64)
	if err != nil || len(value) > maxDigits {
		return 0, fmt.Errorf("%w: found %.40q", ErrNotNumber, value)
	}
	return n, nil
}

// counted replaces the number that an item is by another one.
func (ch *change) counted(it Item, exists bool, sum uint64, err error) (Item, shm.Action, error) {
	if exists && err != nil {
		return Item{}, shm.ActionKeep, err
	}
	ch.sum = sum
	digits := strconv.AppendUint(ch.digits[:0], sum, 10)
	for len(digits) < len(it.Value) {
		digits = append(digits, ' ')
	}
	return ch.rewritten(it, exists, digits)
}
