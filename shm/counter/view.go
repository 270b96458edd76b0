package counter

import (
	"errors"
	"fmt"
	"iter"

	"github.com/seed-869cc763/shmkv/shm"
)

// A View is the counters of a keyspace as a snapshot sees them. It is valid as long as that is
// open. One goroutine uses it at a time.
type View struct {
	c      *Set
	sn     *shm.Snapshot
	counts *shm.MapView
	order  *shm.OrderedView
	err    error
}

// In returns the counters as a snapshot sees them.
func (c *Set) In(sn *shm.Snapshot) *View {
	return &View{c: c, sn: sn, counts: sn.Map(c.countsMap), order: sn.Ordered(c.orderMap)}
}

// Get returns the count of key, or shm.ErrNotFound as it is.
func (v *View) Get(key []byte) (int64, error) {
	value, err := v.counts.Get(key)
	if err == nil {
		var n int64
		if n, err = decodeCount(value); err == nil {
			return n, nil
		}
	}
	if err == shm.ErrNotFound {
		return 0, err
	}
	return 0, v.c.failAt("reading", key, err)
}

// Len returns the number of counters. It is 0 if the snapshot is closed.
func (v *View) Len() int { return v.counts.Len() }

// Sum is [Set.Sum].
func (v *View) Sum() (int64, error) {
	m, err := v.summary()
	if err == nil {
		var n int64
		if n, err = m.total.int64(); err == nil {
			return n, nil
		}
	}
	return 0, v.c.fail("adding up", err)
}

func (v *View) summary() (summary, error) { return v.c.summaryOf(v.order) }

// Rank is [Set.Rank].
func (v *View) Rank(key []byte) (int, error) {
	n, err := v.Get(key)
	if err != nil {
		return 0, err
	}
	i, found, err := v.order.Rank(appendPlace(nil, n, key))
	if err == nil && (!found || i == 0) {
		err = notInStep(n)
	}
	if err != nil {
		return 0, v.c.failAt("looking for the rank of", key, err)
	}
	return i - 1, nil // the summary is before all places
}

// notInStep is the error for a count that the order does not have.
func notInStep(n int64) error {
	return fmt.Errorf("%w: found no place of the count %d in the order, expected one", shm.ErrCorrupt, n)
}

// Range iterates over up to length counters from the offset-th on, in the order of [Set.Range].
// The keys are memory of the store, as the slices of the snapshot are. The loop ends early after
// an error: Err tells.
func (v *View) Range(offset, length int) iter.Seq2[[]byte, int64] {
	return func(yield func(key []byte, n int64) bool) {
		if err := v.each(offset, length, yield); err != nil {
			v.err = v.c.fail("listing", err)
		}
	}
}

// Err returns the error that ended the last loop that failed, or nil.
func (v *View) Err() error { return v.err }

// each calls yield for each counter of a range, until it returns false.
func (v *View) each(offset, length int, yield func(key []byte, n int64) bool) error {
	if offset < 0 || length < 0 {
		return fmt.Errorf("found an offset of %d and a length of %d, expected 0 or more", offset, length)
	}
	if _, err := v.summary(); err != nil {
		return err
	}
	if length == 0 || offset >= v.order.Len() {
		return nil
	}
	first, _, err := v.order.At(offset + 1) // behind the summary
	if errors.Is(err, shm.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	for place := range v.order.Range(first, nil) {
		key, n, err := placed(place)
		if err != nil {
			return err
		}
		if length--; !yield(key, n) || length == 0 {
			break
		}
	}
	return v.sn.Err()
}

// copyRange returns the counters of a range, in two allocations as a rule.
func (v *View) copyRange(offset, length int) (all []Count, err error) {
	most := 0
	if offset >= 0 && length > 0 {
		most = min(length, max(v.Len()-offset, 0))
	}
	all = make([]Count, 0, most)
	var keys []byte
	err = v.each(offset, length, func(key []byte, n int64) bool {
		if keys == nil || cap(keys)-len(keys) < len(key) {
			keys = make([]byte, 0, max(len(key), (most-len(all))*min(len(key)+len(key)/4, keysRoom), keysRoom))
		}
		at := len(keys)
		keys = append(keys, key...)
		all = append(all, Count{keys[at:len(keys):len(keys)], n})
		return true
	})
	if err != nil {
		return nil, v.c.fail("listing", err)
	}
	return all, nil
}

// keysRoom bounds what copyRange allocates for a key that it has not seen.
const keysRoom = 64
