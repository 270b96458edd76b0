package counter

import (
	"context"
	"fmt"

	"github.com/seed-869cc763/shmkv/shm"
)

// Check proves that the two maps of the keyspace are in step, in one version: that each count
// has its place in the order, that there is no other place, and that the counts add up to the
// sum. The error of a keyspace that is damaged matches shm.ErrCorrupt. It takes time in
// proportion to Len. That the maps themselves are sound, [shm.Store.Check] proves.
func (c *Set) Check(ctx context.Context) error {
	return c.View(func(v *View) error {
		if err := v.check(ctx); err != nil {
			return c.fail("checking", err)
		}
		return nil
	})
}

func (v *View) check(ctx context.Context) error {
	m, err := v.summary()
	if err != nil {
		return err
	}
	var sum total
	seen := 0
	for key, n := range v.Range(0, v.order.Len()) {
		if seen++; seen%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		now, err := v.Get(key)
		if err != nil {
			return fmt.Errorf("%w: found the place of %.40q with the count %d, and looking for that count: %w", shm.ErrCorrupt, key, n, err)
		}
		if now != n {
			return fmt.Errorf("%w: found the place of %.40q with the count %d, expected %d", shm.ErrCorrupt, key, n, now)
		}
		sum = sum.plus(n)
	}
	switch {
	case v.err != nil:
		return v.err
	case seen != v.Len():
		return fmt.Errorf("%w: found %d places in the order, expected %d, one for each count", shm.ErrCorrupt, seen, v.Len())
	case sum != m.total:
		return fmt.Errorf("%w: found %v as the sum in the summary, expected %v", shm.ErrCorrupt, m.total, sum)
	}
	return nil
}
