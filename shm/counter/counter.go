package counter

import (
	"errors"
	"fmt"
	"sync"

	"github.com/seed-869cc763/shmkv/shm"
)

// ErrOverflow: an increment would make a count less or greater than an int64 can be, or the
// sum of a keyspace is. Nothing was changed.
var ErrOverflow = errors.New("the count overflows")

// A Count is a counter and its count, or an increment of it.
type Count struct {
	Key []byte
	N   int64
}

// A Set is the counters of a keyspace of a store. Its methods may be called by many
// goroutines at once. It need not be closed, and works as long as its store.
type Set struct {
	s         *shm.Store
	keyspace  string
	counts    *shm.Map
	order     *shm.Ordered
	countsMap string // its name
	orderMap  string
	long      []byte // the keyspace, if the names of the maps do not have it
}

// Open returns the set of a keyspace. All bytes are permitted in its name, and the empty name
// is one too. Open neither reads nor writes the store: the keyspace is there from its first
// counter on, and until then it is empty. The calls of a set whose keyspace has a name of more
// than MaxKeyspace bytes return shm.ErrTooLarge.
func Open(s *shm.Store, keyspace string) *Set {
	counts, order := mapNames(keyspace)
	c := &Set{s: s, keyspace: keyspace, countsMap: counts, orderMap: order, counts: s.Map(counts), order: s.Ordered(order)}
	if len(keyspace) > shortName {
		c.long = []byte(keyspace)
	}
	return c
}

// Keyspace returns the name of the keyspace.
func (c *Set) Keyspace() string { return c.keyspace }

// Store returns the store of the set.
func (c *Set) Store() *shm.Store { return c.s }

// fail wraps an error with what was being done, the keyspace and the store.
func (c *Set) fail(op string, err error) error {
	return fmt.Errorf("counter: %s keyspace %.40q of %s: %w", op, c.keyspace, c.s.Path(), err)
}

// failAt is fail for the counter of a key.
func (c *Set) failAt(op string, key []byte, err error) error {
	return fmt.Errorf("counter: %s %.40q in keyspace %.40q of %s: %w", op, key, c.keyspace, c.s.Path(), err)
}

// rooms are memory for values.
var rooms = sync.Pool{New: func() any { return new([]byte) }}

// Get returns the count of key, or shm.ErrNotFound as it is. It allocates nothing.
func (c *Set) Get(key []byte) (int64, error) {
	room := rooms.Get().(*[]byte)
	defer rooms.Put(room)
	value, err := c.counts.Append((*room)[:0], key)
	if err == nil {
		*room = value
		var n int64
		if n, err = decodeCount(value); err == nil {
			return n, nil
		}
	}
	if err == shm.ErrNotFound {
		if len(c.keyspace) <= MaxKeyspace {
			return 0, err
		}
		err = checkKeyspace(c.keyspace)
	}
	return 0, c.failAt("reading", key, err)
}

// Len returns the number of counters. It takes no time in proportion to that. It is 0 if the
// store is closed.
func (c *Set) Len() int { return c.counts.Len() }

// Sum returns the sum of all counts, which the keyspace keeps: it takes the time of a lookup.
// It returns ErrOverflow if the sum is no int64.
func (c *Set) Sum() (n int64, err error) {
	err = c.View(func(v *View) (err error) {
		n, err = v.Sum()
		return err
	})
	return n, err
}

// Rank returns how many counters are before that of key, in the order of Range, or
// shm.ErrNotFound as it is.
func (c *Set) Rank(key []byte) (i int, err error) {
	err = c.View(func(v *View) (err error) {
		i, err = v.Rank(key)
		return err
	})
	return i, err
}

// Range returns up to length counters from the offset-th on, by descending counts, and those of
// one count by ascending bytes of their keys. All are of one version. There are fewer than
// length where the order ends, and none from behind its end on. A negative offset or length is
// an error. It takes time in proportion to length and to the logarithm of Len. The keys are the
// caller's own.
func (c *Set) Range(offset, length int) (all []Count, err error) {
	err = c.View(func(v *View) (err error) {
		all, err = v.copyRange(offset, length)
		return err
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// View calls fn with the counters of the current version. The View is valid until fn returns.
func (c *Set) View(fn func(v *View) error) error {
	if err := checkKeyspace(c.keyspace); err != nil {
		return c.fail("reading", err)
	}
	return c.s.View(func(sn *shm.Snapshot) error { return fn(c.In(sn)) })
}
