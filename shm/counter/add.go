package counter

import "sync"

// batches are batches that are not in use.
var batches sync.Pool

// Add adds n to the count of key, which is 0 if there is no counter of that key, and returns the
// count that it has then. Add of 0 makes a counter that is missing. If the count would be less
// or greater than an int64 can be, Add returns ErrOverflow and changes nothing.
//
// Each Add is a commit. To add to many counters, AddMany is several times faster.
func (c *Set) Add(key []byte, n int64) (now int64, err error) {
	b := c.borrow()
	defer c.giveBack(b)
	b.add(0, key, n)
	if err := b.commit(true); err != nil {
		return 0, err
	}
	return b.incs[0].now, nil
}

// AddMany adds to many counters in one commit: to that of each Key, which may occur more than
// once, its N. After an error nothing is changed; ErrOverflow is one, as with Add. A thousand
// increments make a good batch. A Batch reports the counts, and refuses increments one by one.
func (c *Set) AddMany(all []Count) error {
	b := c.borrow()
	defer c.giveBack(b)
	for _, a := range all {
		b.add(0, a.Key, a.N)
	}
	return b.commit(true)
}

// borrow returns an empty batch of the store, with the set as its only one.
func (c *Set) borrow() *Batch {
	b, _ := batches.Get().(*Batch)
	if b == nil {
		b = NewBatch(nil)
	}
	b.s = c.s
	b.addKnown(c)
	if err := checkKeyspace(c.keyspace); err != nil {
		b.err = c.fail("adding to", err)
	}
	return b
}

// mostKept is how many increments a batch may have had that is kept.
const mostKept = 1 << 16

func (c *Set) giveBack(b *Batch) {
	if len(b.incs) > mostKept {
		return
	}
	b.Reset()
	b.s = nil
	batches.Put(b)
}
