package counter

import (
	"github.com/seed-869cc763/shmkv/shm"
)

// Remove removes the counter of key, and reports whether there was one. In a full store it
// fails, because it writes the new sum; Drop works.
func (c *Set) Remove(key []byte) (existed bool, err error) {
	if err := checkKeyspace(c.keyspace); err != nil {
		return false, c.fail("removing from", err)
	}
	err = c.s.Update(func(tx *shm.Tx) (err error) {
		existed, err = c.removeIn(tx, key)
		return err
	})
	if err != nil {
		return false, c.failAt("removing", key, err)
	}
	return existed, nil
}

func (c *Set) removeIn(tx *shm.Tx, key []byte) (existed bool, err error) {
	counts, order := tx.Map(c.countsMap), tx.Ordered(c.orderMap)
	k := batchKey{key: key}
	value, err := counts.Get(key)
	if err == shm.ErrNotFound {
		return false, nil
	}
	if err == nil {
		err = k.read(value)
	}
	if err != nil {
		return false, err
	}
	m, err := c.summaryOf(order)
	if err != nil {
		return false, err
	}
	if _, err := counts.Delete(key); err != nil {
		return false, err
	}
	if existed, err = order.Delete(appendPlace(nil, k.old, key)); err == nil && !existed {
		err = notInStep(k.old)
	}
	if err != nil || k.old == 0 {
		return existed, err
	}
	m.total = m.total.minus(k.old)
	return true, order.Set(nil, m.append(nil))
}

// Drop removes all counters of the keyspace, and reports whether it was there. It takes one
// short commit, also in a full store; the space comes back as [shm.Store.DropMap] says.
func (c *Set) Drop() (existed bool, err error) {
	if err := checkKeyspace(c.keyspace); err != nil {
		return false, c.fail("dropping", err)
	}
	err = c.s.Update(func(tx *shm.Tx) error {
		counts, err := tx.Map(c.countsMap).Drop()
		if err != nil {
			return err
		}
		order, err := tx.Map(c.orderMap).Drop() // a map of either kind
		existed = counts || order
		return err
	})
	if err != nil {
		return false, c.fail("dropping", err)
	}
	return existed, nil
}
