package cache

import "context"

// Freed is what Evict has deleted.
type Freed struct {
	Evictions   uint64 `json:"evictions"`   // items that had not expired
	Expirations uint64 `json:"expirations"` // items that had
	Bytes       int64  `json:"bytes"`       // about how many bytes of blocks they took
}

// Evict deletes items of the region until about so many bytes of blocks are free, or there are
// no more items. It chooses them as a write that finds no room does: of samples it deletes the
// expired ones, and those that are worth the least. If ctx ends, its error is returned with
// what was deleted by then.
func (c *Cache) Evict(ctx context.Context, bytes int64) (f Freed, err error) {
	if _, err := c.begin(); err != nil {
		return f, c.fail("evicting", nil, err)
	}
	for f.Bytes < bytes {
		if err := ctx.Err(); err != nil {
			return f, c.fail("evicting", nil, err)
		}
		one, err := c.evictOnce(bytes - f.Bytes)
		if err != nil {
			return f, c.fail("evicting", nil, err)
		}
		if one.Bytes == 0 {
			break
		}
		f.Evictions += one.Evictions
		f.Expirations += one.Expirations
		f.Bytes += one.Bytes
	}
	return f, nil
}

// evictOnce is one step of Evict. Between the steps other writers may evict, and listeners are
// told.
func (c *Cache) evictOnce(bytes int64) (Freed, error) {
	r := &c.room
	r.mu.Lock()
	defer c.unlockRoom()
	freed, err := c.evict(bytes)
	return Freed{Evictions: r.choices.evicted, Expirations: r.choices.expired, Bytes: freed}, err
}

// DeleteExpired deletes all items of the region that have expired, and returns their number.
// Without it writes and the work in the background do so little by little. If ctx ends, its
// error is returned with the number by then.
func (c *Cache) DeleteExpired(ctx context.Context) (n int, err error) {
	if _, err := c.begin(); err != nil {
		return 0, c.fail("deleting expired items", nil, err)
	}
	w := &c.sweep
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cursor, w.round = 0, round{}
	for end := false; !end; n = w.round.expired {
		if err := ctx.Err(); err != nil {
			return n, c.fail("deleting expired items", nil, err)
		}
		if end, err = c.sweepStep(stepSweep); err != nil {
			return n, c.fail("deleting expired items", nil, err)
		}
	}
	w.round = round{}
	return n, nil
}
