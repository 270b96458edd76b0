package counter

import (
	"context"
	"iter"

	"github.com/seed-869cc763/shmkv/shm"
)

// A Change is what became of a counter.
type Change struct {
	Key      []byte
	Old, New int64 // 0 where there was, or is, no counter
	Existed  bool  // there was a counter
	Exists   bool  // there is one
}

// A Subscription follows the counters of a keyspace as processes change them. One goroutine
// uses it at a time.
type Subscription struct {
	c   *Set
	w   *shm.Watcher
	err error
}

// Subscribe returns a subscription, whose loop ends when ctx is done or the store is closed.
func (c *Set) Subscribe(ctx context.Context) *Subscription {
	return &Subscription{c: c, w: c.counts.Watch(ctx)}
}

// Changes iterates over the counters that there are, in no order and as changes from nothing,
// and then over what has changed between each version that it sees and the one before. So the
// changes make a copy of the keyspace and keep it current. It sleeps while nothing is
// committed. Commits between two looks are merged: a counter that two of them changed is shown
// once, and one that is as it was is not shown. Key is memory of the store and valid until the
// next step of the loop. The version that was shown last is pinned, as by a shm.Snapshot.
func (u *Subscription) Changes() iter.Seq[Change] {
	return func(yield func(Change) bool) {
		u.err = checkKeyspace(u.c.keyspace)
		if u.err != nil {
			u.err = u.c.fail("following", u.err)
			return
		}
		for key, raw := range u.w.Changes() {
			ch := Change{Key: key, Existed: raw.Old != nil, Exists: raw.New != nil}
			var err error
			if ch.Existed {
				ch.Old, err = decodeCount(raw.Old)
			}
			if ch.Exists && err == nil {
				ch.New, err = decodeCount(raw.New)
			}
			if err != nil {
				u.err = u.c.failAt("following", key, err)
				return
			}
			if !yield(ch) {
				return
			}
		}
		u.err = u.w.Err()
	}
}

// Version returns the version of the store that the last step of the loop has shown.
func (u *Subscription) Version() uint64 { return u.w.Version() }

// Err returns the error that ended the last loop: that of the context or shm.ErrClosed, as a
// rule. It is nil after a break.
func (u *Subscription) Err() error { return u.err }
