package counter

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"github.com/seed-869cc763/shmkv/shm"
)

// applied is what a batch needs while it is carried out.
type applied struct {
	strict  bool // an increment that is refused ends the commit
	changed []int32
	value   []byte
	place   []byte
}

// Commit carries out the increments in one commit of the store. Afterwards Result tells what
// came of each. After an error none of them counts.
func (b *Batch) Commit() error { return b.commit(false) }

// commit carries out the increments. If strict is set, all of them or none.
func (b *Batch) commit(strict bool) error {
	if b.err != nil {
		return b.err
	}
	b.strict = strict
	return b.s.Update(b.apply)
}

// apply makes all increments part of a transaction. It may run again.
func (b *Batch) apply(tx *shm.Tx) error {
	for i := range b.sets {
		if err := b.applyTo(tx, &b.sets[i]); err != nil {
			return err
		}
	}
	return nil
}

// applyTo makes the increments of a keyspace part of a transaction. The steps are apart, because
// a transaction writes to one map faster than to two by turns.
func (b *Batch) applyTo(tx *shm.Tx, set *batchSet) error {
	c := set.Set
	counts, order := tx.Map(c.countsMap), tx.Ordered(c.orderMap)
	m, err := c.summaryOf(order)
	if err != nil {
		return c.fail("adding to", err)
	}
	// 1. Read all counts, and decide what becomes of them.
	b.changed = b.changed[:0]
	for _, i := range set.keys {
		k := &b.keys[i]
		if err := k.read(counts); err != nil {
			return c.failAt("adding to", k.key, err)
		}
		if err := b.decide(k); err != nil {
			return c.failAt("adding to", k.key, err)
		}
		if k.exists && (!k.was || k.now != k.old) {
			b.changed = append(b.changed, i)
		}
	}
	if len(b.changed) == 0 {
		return nil
	}
	// 2. The map of counts.
	for _, i := range b.changed {
		k := &b.keys[i]
		b.value = appendCount(b.value[:0], k.now)
		if err := counts.Set(k.key, b.value); err != nil {
			return err
		}
		m.total = m.total.minus(k.old).plus(k.now)
	}
	// 3. The order: neighbours share nodes, so each step goes through it from its beginning.
	slices.SortFunc(b.changed, func(i, j int32) int { return b.keys[i].compare(b.keys[i].old, &b.keys[j], b.keys[j].old) })
	for _, i := range b.changed {
		k := &b.keys[i]
		if !k.was {
			continue
		}
		b.place = appendPlace(b.place[:0], k.old, k.key)
		existed, err := order.Delete(b.place)
		if err == nil && !existed {
			err = notInStep(k.old)
		}
		if err != nil {
			return c.failAt("adding to", k.key, err)
		}
	}
	slices.SortFunc(b.changed, func(i, j int32) int { return b.keys[i].compare(b.keys[i].now, &b.keys[j], b.keys[j].now) })
	b.value = m.append(b.value[:0])
	if err := order.Set(nil, b.value); err != nil {
		return err
	}
	for _, i := range b.changed {
		k := &b.keys[i]
		b.place = appendPlace(b.place[:0], k.now, k.key)
		if err := order.Set(b.place, nil); err != nil {
			return err
		}
	}
	return nil
}

// compare compares places, the first with a count of n, the second of m.
func (k *batchKey) compare(n int64, l *batchKey, m int64) int {
	if n != m {
		return cmp.Compare(m, n)
	}
	return bytes.Compare(k.key, l.key)
}

// read reads the count that there is.
func (k *batchKey) read(counts *shm.TxMap) error {
	value, err := counts.Get(k.key)
	k.was, k.old = err == nil, 0
	switch {
	case err == shm.ErrNotFound:
		return nil
	case err != nil:
		return err
	}
	k.old, err = decodeCount(value)
	return err
}

// decide carries the increments of a counter out one by one.
func (b *Batch) decide(k *batchKey) error {
	k.now, k.exists = k.old, k.was
	for i := k.first; i >= 0; i = b.incs[i].next {
		inc := &b.incs[i]
		sum := k.now + inc.n
		inc.refused = (sum > k.now) != (inc.n > 0) && inc.n != 0
		if inc.refused && b.strict {
			return overflow(k.now, inc.n)
		}
		if !inc.refused {
			k.now, k.exists = sum, true
		}
		inc.now = k.now
	}
	return nil
}

func overflow(now, n int64) error {
	return fmt.Errorf("%w: found a count of %d, expected one that can be changed by %d", ErrOverflow, now, n)
}
