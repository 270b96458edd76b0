package cache

import (
	"errors"
	"iter"
	"sync/atomic"

	"github.com/seed-869cc763/shmkv/shm"
)

// A View is a region in one version of the store. See [Cache.View].
type View struct {
	c    *Cache
	sn   *shm.Snapshot
	rule rule
	now  int64
	err  atomic.Pointer[error]
}

// View calls fn with a view of the region in the current version. The view ends when fn
// returns. Until then the space of items that are replaced or evicted cannot be used again, so
// a write may find no room while fn takes its time.
func (c *Cache) View(fn func(v *View) error) error {
	if _, err := c.begin(); err != nil && !errors.Is(err, shm.ErrReadOnly) {
		return c.fail("viewing", nil, err)
	}
	return c.store.View(func(sn *shm.Snapshot) error {
		v := &View{c: c, sn: sn, now: c.clock.now()}
		b, err := sn.Map(RegionsMap).Get(c.name)
		if err == nil {
			var r record
			r, err = readRecord(b)
			v.rule = r.rule()
		}
		if err != nil && err != shm.ErrNotFound {
			return c.fail("viewing", nil, err)
		}
		return fn(v)
	})
}

// All iterates over the items that had not expired when the view was made, in no order. Keys
// and values are memory of the store: they are valid until the view ends, and must not be
// written to. The loop does not count as reads. It ends early if the store is damaged, or if
// the view has ended: Err tells.
func (v *View) All() iter.Seq2[[]byte, Item] {
	return func(yield func(key []byte, it Item) bool) {
		if has(v.rule.flushAt, v.now) { // a handle that only reads could not flush
			return
		}
		for key, b := range v.sn.Map(v.c.region).All() {
			value, t, err := split(b)
			if err != nil {
				err = v.c.fail("reading", key, err)
				v.err.CompareAndSwap(nil, &err)
				return
			}
			if !has(t.expires, v.now) && !yield(key, t.item(value, v.rule, v.now)) {
				return
			}
		}
	}
}

// Err returns the error that ended a loop over the view early, shm.ErrCorrupt as a rule. It is
// nil if all loops have ended by themselves or by a break, and keeps the first error otherwise.
func (v *View) Err() error {
	if err := v.err.Load(); err != nil {
		return *err
	}
	return v.sn.Err()
}
