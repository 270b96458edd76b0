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
	changed []position
	value   []byte
	many    [][]byte // keys or places, for calls with many of them
	room    []byte   // of the places in many
}

// A position is a counter that a commit changes, with what is needed to sort most of them
// without a look at their keys.
type position struct {
	n    int64  // the count by which it is sorted
	head uint64 // the first bytes of the key
	i    int32  // index of the counter
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
	for _, p := range b.changed {
		k := &b.keys[p.i]
		b.value = appendCount(b.value[:0], k.now)
		if err := counts.Set(k.key, b.value); err != nil {
			return c.failAt("adding to", k.key, err)
		}
		m.total = m.total.minus(k.old).plus(k.now)
	}
	// 2. The places before. Neighbours share nodes, so each step goes through the order from
	// its beginning to its end.
	b.sort(func(k *batchKey) int64 { return k.old })
	b.placesOf(func(k *batchKey) (int64, bool) { return k.old, k.was })
	for _, place := range b.many {
		existed, err := order.Delete(place)
		if err == nil && !existed {
			_, n, _ := placed(place)
			err = notInStep(n)
		}
		if err != nil {
			return c.fail("adding to", err)
		}
	}
	// 3. The places after.
	b.sort(func(k *batchKey) int64 { return k.now })
	b.placesOf(func(k *batchKey) (int64, bool) { return k.now, true })
	b.value = m.append(b.value[:0])
	err = order.Set(nil, b.value)
	for _, place := range b.many {
		if err == nil {
			err = order.Set(place, nil)
		}
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
			b.changed = append(b.changed, position{head: headOf(k.key), i: i})
		}
	}
	return tx.Err()
}

// headOf returns the first eight bytes of a key, in the order of keys.
func headOf(key []byte) (head uint64) {
	for i := range 8 {
		head <<= 8
		if i < len(key) {
			head |= uint64(key[i])
		}
	}
	return head
}

// sort sorts the counters that change by the places that they have with these counts.
func (b *Batch) sort(count func(k *batchKey) int64) {
	for i := range b.changed {
		p := &b.changed[i]
		p.n = count(&b.keys[p.i])
	}
	slices.SortFunc(b.changed, func(p, q position) int {
		switch {
		case p.n != q.n:
			return cmp.Compare(q.n, p.n)
		case p.head != q.head:
			return cmp.Compare(p.head, q.head)
		}
		return bytes.Compare(b.keys[p.i].key, b.keys[q.i].key)
	})
}

// placesOf makes many the places of the counters that change, with these counts.
func (b *Batch) placesOf(count func(k *batchKey) (n int64, has bool)) {
	b.many, b.room = b.many[:0], b.room[:0]
	size := 0
	for _, p := range b.changed {
		size += mostOfPlace + len(b.keys[p.i].key)
	}
	b.room = slices.Grow(b.room, size) // so that it stays where it is
	for _, p := range b.changed {
		k := &b.keys[p.i]
		if n, has := count(k); has {
			at := len(b.room)
			b.room = appendPlace(b.room, n, k.key)
			b.many = append(b.many, b.room[at:])
		}
	}
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
