package counter

import (
	"fmt"
	"slices"

	"github.com/seed-869cc763/shmkv/shm"
)

// applied is what a batch needs while it is carried out.
type applied struct {
	strict  bool    // an increment that is refused ends the commit
	changed []int32 // indices of the counters that a commit changes
	value   []byte
	many    [][]byte // keys
	ranks   []ranked
	spare   []ranked
	edits   []shm.Edit // of the order
	room    []byte     // of the places in edits
}

// Commit carries out the increments in one commit of the store. Afterwards Result tells what
// came of each. After an error none of them counts, unless it matches shm.ErrFlush: then the
// commit was made, and is not durable.
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
// a transaction reads or writes many keys of one map faster than one key after the other.
func (b *Batch) applyTo(tx *shm.Tx, set *batchSet) error {
	c := set.Set
	counts, order := tx.Map(c.countsMap), tx.Ordered(c.orderMap)
	m, err := c.summaryOf(order)
	if err != nil {
		return c.fail("adding to", err)
	}
	if err := b.decideAll(tx, counts, set); err != nil || len(b.changed) == 0 {
		return err
	}
	// 1. The map of counts.
	for _, i := range b.changed {
		k := &b.keys[i]
		b.value = appendCount(b.value[:0], k.now)
		if err := counts.Set(k.key, b.value); err != nil {
			return c.failAt("adding to", k.key, err)
		}
		m.total = m.total.minus(k.old).plus(k.now)
	}
	// 2. The order, from its beginning to its end, because neighbours share nodes.
	b.value = m.append(b.value[:0])
	deletes := b.editsOf(b.value)
	deleted, err := order.EditMany(b.edits)
	if err == nil && deleted != deletes {
		err = fmt.Errorf("%w: found %d places of %d counters in the order", shm.ErrCorrupt, deleted, deletes)
	}
	if err != nil {
		return c.fail("adding to", err)
	}
	return nil
}

// decideAll reads the counts of a keyspace, and decides what becomes of them.
func (b *Batch) decideAll(tx *shm.Tx, counts *shm.TxMap, set *batchSet) (err error) {
	b.changed, b.many = b.changed[:0], b.many[:0]
	for _, i := range set.keys {
		b.many = append(b.many, b.keys[i].key)
	}
	for j, value := range counts.GetMany(b.many) {
		i := set.keys[j]
		k := &b.keys[i]
		if err = k.read(value); err == nil {
			err = b.decide(k)
		}
		if err != nil {
			return set.failAt("adding to", k.key, err)
		}
		if k.exists && (!k.was || k.now != k.old) {
			b.changed = append(b.changed, i)
		}
	}
	return tx.Err()
}

// editsOf makes edits those of the order: the summary, and what becomes of the places of the
// counters that change. It returns how many of them are deletes.
func (b *Batch) editsOf(summary []byte) (deletes int) {
	b.sortByKey()
	size := 0
	b.spare = b.spare[:0]
	for _, r := range b.ranks {
		k := &b.keys[r.i]
		b.spare = append(b.spare, ranked{by: descending(k.now), i: r.i})
		size += mostOfPlace + len(k.key)
		if k.was {
			b.spare = append(b.spare, ranked{by: descending(k.old), i: r.i, old: true})
			size += mostOfPlace + len(k.key)
			deletes++
		}
	}
	b.ranks, b.spare = b.spare, b.ranks
	b.sortRanks()
	b.room = slices.Grow(b.room[:0], size) // so that it stays where it is
	b.edits = append(b.edits[:0], shm.Edit{Value: summary})
	for _, r := range b.ranks {
		k, at := &b.keys[r.i], len(b.room)
		n := k.now
		if r.old {
			n = k.old
		}
		b.room = appendPlace(b.room, n, k.key)
		b.edits = append(b.edits, shm.Edit{Key: b.room[at:], Delete: r.old})
	}
	return deletes
}

// read sets the count before the commit from the value of the map of counts, or nil.
func (k *batchKey) read(value []byte) (err error) {
	if k.was, k.old = value != nil, 0; k.was {
		k.old, err = decodeCount(value)
	}
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
