package cache

import (
	"encoding/binary"
	"errors"

	"github.com/seed-869cc763/shmkv/shm"
)

// Get returns the item of key, or shm.ErrNotFound. The value is the caller's own.
func (c *Cache) Get(key []byte) (Item, error) { return c.AppendItem(nil, key) }

// Append appends the value of key to dst and returns the extended slice, or dst and
// shm.ErrNotFound. It does not allocate if dst has room for the value and [Overhead] bytes
// more. Spare room of dst may have been written to, also after an error.
func (c *Cache) Append(dst, key []byte) ([]byte, error) {
	got, _, err := c.read(dst, key)
	if err != nil {
		return dst, err
	}
	return got[:len(got)-Overhead], nil
}

// AppendItem is Get for callers that have memory for the value: Item.Value is dst, extended
// by the value as Append does. After an error it is dst.
func (c *Cache) AppendItem(dst, key []byte) (Item, error) {
	got, now, err := c.read(dst, key)
	if err != nil {
		return Item{Value: dst}, err
	}
	r, err := c.rules()
	if err != nil {
		return Item{Value: dst}, c.fail("reading", key, err)
	}
	_, t, err := split(got[len(dst):])
	if err != nil {
		return Item{Value: dst}, c.fail("reading", key, err)
	}
	if t.staleAfter != 0 && now == 0 {
		now = c.clock.now()
	}
	return t.item(got[:len(got)-Overhead], r, now), nil
}

// read appends the value of key to dst, and its tail behind it. It returns the time too if it
// had to know it, else 0: without a need it does not read the clock, which takes as long as a
// lookup among few entries.
func (c *Cache) read(dst, key []byte) (got []byte, now int64, err error) {
	r, err := c.rules()
	if err != nil {
		return nil, 0, c.fail("reading", key, err)
	}
	if r.flushAt != 0 {
		if now = c.clock.now(); now >= r.flushAt {
			if err = c.flushDue(r); errors.Is(err, shm.ErrReadOnly) {
				return nil, 0, shm.ErrNotFound
			} else if err != nil {
				return nil, 0, c.fail("reading", key, err)
			}
		}
	}
	seen := c.sketch.at(key)
	if got, err = c.items.Append(dst, key); err == nil {
		n := len(got) - Overhead
		if n < len(dst) {
			_, _, err = split(got[len(dst):])
			return nil, 0, c.fail("reading", key, err)
		}
		expires := int64(binary.LittleEndian.Uint64(got[n+8:]))
		if expires == 0 {
			c.note(seen, laneHits)
			return got, now, nil
		}
		if now == 0 {
			now = c.clock.now()
		}
		c.hasExpiry()
		if now < expires {
			c.note(seen, laneHits)
			return got, now, nil
		}
		err = shm.ErrNotFound
	}
	if err == shm.ErrNotFound {
		c.note(seen, laneMisses)
		return nil, now, err
	}
	return nil, 0, c.fail("reading", key, err)
}

// GetMany looks many keys up in one version and calls fn for each, in order. Without ok the
// key is not in the cache, and the item has at most Expires: when it ended. The value of the item is memory of the store: it is valid in fn
// only, and must not be written to. fn must not write to the store. In large caches a key
// costs a fraction of a Get.
func (c *Cache) GetMany(keys [][]byte, fn func(i int, it Item, ok bool)) error {
	r, err := c.rules()
	if err != nil {
		return c.fail("reading many", nil, err)
	}
	now := c.clock.now()
	if has(r.flushAt, now) {
		if err := c.flushDue(r); errors.Is(err, shm.ErrReadOnly) {
			for i := range keys {
				fn(i, Item{}, false)
			}
			return nil
		} else if err != nil {
			return c.fail("reading many", nil, err)
		}
	}
	var damaged error
	err = c.items.GetMany(keys, func(i int, b []byte, ok bool) {
		seen := c.sketch.at(keys[i])
		var ended Item
		if ok {
			value, t, err := split(b)
			switch {
			case err != nil:
				damaged = err
			case !has(t.expires, now):
				c.note(seen, laneHits)
				fn(i, t.item(value, r, now), true)
				return
			default:
				ended.Expires = timeOf(t.expires)
			}
		}
		c.note(seen, laneMisses)
		fn(i, ended, false)
	})
	if err == nil {
		err = damaged
	}
	return c.fail("reading many", nil, err)
}
