package cache

import (
	"bytes"
	"fmt"
	"strconv"
	"time"

	"github.com/seed-869cc763/shmkv/shm"
)

// change replaces the item of key by what fn makes of it, in one step among all processes.
// fn appends the new value to room, and may change the tail. Without an item the error is
// shm.ErrNotFound. With fresh, the item gets a new token. more is how many bytes the value
// may become longer.
func (c *Cache) change(op string, key []byte, more int, fresh bool, fn func(room, value []byte, t *tail) ([]byte, error)) (made tail, err error) {
	r, err := c.begin()
	if err != nil {
		return made, c.fail(op, key, err)
	}
	need, err := c.needOf(len(key), more+Overhead)
	if err != nil {
		return made, c.fail(op, key, err)
	}
	b := c.borrow()
	defer c.giveBack(b)
	err = c.write(op, key, need, func() error {
		return c.items.Compute(key, func(old []byte, exists bool) ([]byte, shm.Action, error) {
			value, t, there, err := c.present(old, exists)
			if err == nil && !there {
				err = shm.ErrNotFound
			}
			if err != nil {
				return nil, shm.ActionKeep, err
			}
			if fresh {
				t.token, t.generation = newToken(), r.generation
			}
			if b.bytes, err = fn(b.bytes[:0], value, &t); err != nil {
				return nil, shm.ActionKeep, err
			}
			made = t
			b.bytes = t.appendTo(b.bytes)
			if _, err := c.needOf(len(key), len(b.bytes)); err != nil {
				return nil, shm.ActionKeep, err
			}
			return b.bytes, shm.ActionSet, nil
		})
	})
	if err == nil && made.expires != 0 {
		c.hasExpiry()
	}
	return made, err
}

// AppendValue puts part behind the value of key, and returns the item's new token. Flags and
// expiry stay as they are. Without an item the error is shm.ErrNotFound.
func (c *Cache) AppendValue(key, part []byte) (token uint64, err error) {
	t, err := c.change("appending to", key, len(part), true, func(room, value []byte, _ *tail) ([]byte, error) {
		return append(append(room, value...), part...), nil
	})
	return t.token, err
}

// PrependValue is AppendValue with part before the value.
func (c *Cache) PrependValue(key, part []byte) (token uint64, err error) {
	t, err := c.change("prepending to", key, len(part), true, func(room, value []byte, _ *tail) ([]byte, error) {
		return append(append(room, part...), value...), nil
	})
	return t.token, err
}

// Touch makes the item of key end after ttl from now, as Set does; its token stays. Without
// an item the error is shm.ErrNotFound.
func (c *Cache) Touch(key []byte, ttl time.Duration) error {
	_, err := c.touch(key, momentOf(c.ends(ttl)), false)
	return err
}

// GetAndTouch is Touch, and returns the item with its new end.
func (c *Cache) GetAndTouch(key []byte, ttl time.Duration) (Item, error) {
	return c.touch(key, momentOf(c.ends(ttl)), true)
}

func (c *Cache) touch(key []byte, expires int64, want bool) (it Item, err error) {
	seen := c.sketch.at(key)
	var got []byte
	t, err := c.change("touching", key, 0, false, func(room, value []byte, t *tail) ([]byte, error) {
		t.expires = expires
		if want {
			got = append([]byte{}, value...)
		}
		return append(room, value...), nil
	})
	switch {
	case err == shm.ErrNotFound && want:
		c.note(seen, laneMisses)
	case err == nil && want:
		c.note(seen, laneHits)
	}
	if err != nil {
		return Item{}, err
	}
	r, err := c.rules()
	return t.item(got, r, c.clock.now()), c.fail("touching", key, err)
}

// Delete removes the item of key, and reports whether there was one.
func (c *Cache) Delete(key []byte) (existed bool, err error) {
	const op = "deleting"
	if _, err := c.begin(); err != nil {
		return false, c.fail(op, key, err)
	}
	err = c.items.Compute(key, func(old []byte, exists bool) ([]byte, shm.Action, error) {
		var err error
		_, _, existed, err = c.present(old, exists)
		if err != nil || !exists {
			return nil, shm.ActionKeep, err
		}
		return nil, shm.ActionDelete, nil
	})
	if err != nil {
		return false, c.fail(op, key, err)
	}
	return existed, nil
}

// Increment adds n to the number that the value of key is, and returns the sum. It follows
// the rules of memcached: the value is a decimal number of 64 bits without a sign, and the
// sum begins again at 0 beyond the greatest one. A number that gets fewer digits keeps its
// length, by spaces behind it. Flags and expiry stay as they are. Without an item the error
// is shm.ErrNotFound, and for another value it matches ErrNotNumber.
func (c *Cache) Increment(key []byte, n uint64) (now uint64, err error) {
	return c.count("incrementing", key, func(was uint64) uint64 { return was + n })
}

// Decrement subtracts n, as Increment adds it. The difference is never less than 0.
func (c *Cache) Decrement(key []byte, n uint64) (now uint64, err error) {
	return c.count("decrementing", key, func(was uint64) uint64 { return was - min(was, n) })
}

// maxDigits is the length of the largest number.
const maxDigits = 20

func (c *Cache) count(op string, key []byte, fn func(uint64) uint64) (now uint64, err error) {
	_, err = c.change(op, key, maxDigits, true, func(room, value []byte, _ *tail) ([]byte, error) {
		was, err := strconv.ParseUint(string(bytes.TrimRight(value[:min(len(value), maxDigits+1)], " ")), 10, 64)
		if err != nil || len(value) > maxDigits {
			return room, fmt.Errorf("%w: found %.40q", ErrNotNumber, value)
		}
		now = fn(was)
		room = strconv.AppendUint(room, now, 10)
		if less := len(value) - len(room); less > 0 {
			room = append(room, bytes.Repeat([]byte{' '}, less)...)
		}
		return room, nil
	})
	if err != nil {
		return 0, err
	}
	return now, nil
}
