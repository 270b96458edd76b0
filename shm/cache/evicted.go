package cache

import (
	"slices"
	"sync"
	"sync/atomic"
)

// OnEvict calls fn with each item that this handle evicts from now on, until stop is called. A
// handle evicts to make room for its own writes, in Evict and in SetBytes. Evictions by other
// handles are not told, nor are items that have expired, whatever deletes them, nor those that
// were replaced, deleted or flushed. An eviction of which the process could not tell before it
// was killed is told by nobody.
//
// fn runs in the goroutine of the call that has evicted, after the commit and before the call
// goes on, with no lock of the cache held. So several goroutines may call fn at once, and a slow
// one delays writes. fn may use the cache; a write by fn may evict too, and calls fn then. The key
// may have an item again by the time at which fn runs.
//
// key and it.Value are copies, which fn may keep, and must not change if there are other
// listeners. As many bytes as a write evicts at once are copied: of a write that needs much room
// these are several times its size. Without listeners nothing is copied.
//
// A call of fn that is under way when stop is called may end later than stop.
func (c *Cache) OnEvict(fn func(key []byte, it Item)) (stop func()) {
	l := &listener{fn}
	c.listeners.change(func(all []*listener) []*listener { return append(all, l) })
	return func() {
		c.listeners.change(func(all []*listener) []*listener {
			return slices.DeleteFunc(all, func(o *listener) bool { return o == l })
		})
	}
}

type listener struct{ fn func(key []byte, it Item) }

// listeners are those who are told of evictions.
type listeners struct {
	mu  sync.Mutex // of who changes all
	all atomic.Pointer[[]*listener]
}

func (l *listeners) change(fn func(all []*listener) []*listener) {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := fn(slices.Clone(l.get()))
	l.all.Store(&all)
}

func (l *listeners) get() []*listener {
	if all := l.all.Load(); all != nil {
		return *all
	}
	return nil
}

// An evicted is an item that was evicted, with its key.
type evicted struct {
	key []byte
	it  Item
}

// appendEvicted appends copies of the victims that have not expired.
func (ch *choices) appendEvicted(all []evicted, r rule) []evicted {
	for _, v := range ch.victims {
		value, t, err := split(v.item)
		if v.expired || err != nil {
			continue
		}
		b := append(append(make([]byte, 0, len(v.key)+len(value)), v.key...), value...)
		n := len(v.key)
		all = append(all, evicted{b[:n:n], t.item(b[n:], r, ch.now)})
	}
	return all
}

// unlockRoom unlocks room.mu, and tells the listeners what was evicted under it.
func (c *Cache) unlockRoom() {
	all := c.room.evicted
	c.room.evicted = nil
	c.room.mu.Unlock()
	if len(all) == 0 {
		return
	}
	listeners := c.listeners.get()
	for _, e := range all {
		for _, l := range listeners {
			l.fn(e.key, e.it)
		}
	}
}
