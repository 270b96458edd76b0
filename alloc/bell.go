package alloc

import (
	"sync"
	"time"

	"github.com/seed-869cc763/shmkv/alloc/layout"
)

// A bell is a word on which goroutines of all processes wait for something that somebody
// does to the store, and then rings (rule W2). A goroutine that waits does not sleep in
// the kernel: a watcher of the handle does, one for each bell on which somebody waits, and
// wakes the others through a channel. So the number of threads that sleep is at most that
// of the bells.

const (
	// bellNap is how long a watcher sleeps at a time. Between two naps it looks whether
	// the handles that others wait for are alive.
	bellNap = 50 * time.Millisecond
	// bellNaps is after how many naps those who wait look for themselves. That makes good
	// for somebody who died before it rang.
	bellNaps = 20
)

// bell is what a handle knows of a bell.
type bell struct {
	mu      sync.Mutex
	waiting map[layout.Handle]*crowd // by the handle for whose death they wait too
	watched bool                     // a watcher is there
}

// A crowd is the goroutines that wait on a bell for the same reasons.
type crowd struct {
	seen  layout.BellWord // when the first one came
	n     int
	naps  int
	woken chan struct{} // closed when all of them are to look
}

func (a *Arena) bellWord(n int) layout.BellWord {
	return layout.BellWord(a.shared.Load(layout.BellOff(n)))
}

// Listen makes bell n ring for the caller from now on, and returns the state of the bell.
// After that the caller looks whether there is a reason to wait.
func (a *Arena) Listen(n int) layout.BellWord {
	for {
		w := a.bellWord(n)
		if w.IsListened() || a.shared.CAS(layout.BellOff(n), uint64(w), uint64(w.Listened())) {
			return w.Listened()
		}
	}
}

// HasRung reports whether bell n has rung since Listen has returned seen.
func (a *Arena) HasRung(n int, seen layout.BellWord) bool { return a.bellWord(n) != seen }

// Ring wakes all who listen to bell n, in all processes. If nobody does, it is a load.
//
// Whoever finds that somebody listens wakes the listeners, also if another one has rung
// the bell meanwhile, and may have died before it woke them.
func (a *Arena) Ring(n int) {
	w := a.bellWord(n)
	if !w.IsListened() {
		return
	}
	off := layout.BellOff(n)
	a.shared.CAS(off, uint64(w), uint64(w.Rung()))
	a.shared.FutexWake(off)
}

// AwaitBell returns when bell n has rung since Listen has returned seen, when the handle
// of that name is not alive, when done is closed or this handle is. It may return early,
// and does so after a second.
func (a *Arena) AwaitBell(done <-chan struct{}, n int, seen layout.BellWord, h layout.Handle) {
	b := &a.bells[n]
	c := b.join(a, n, seen, h)
	if c == nil {
		return
	}
	select {
	case <-c.woken:
	case <-done:
		b.leave(c, h)
	}
}

// join adds the caller to those who wait, or returns nil if there is no reason to wait.
func (b *bell) join(a *Arena, n int, seen layout.BellWord, h layout.Handle) *crowd {
	b.mu.Lock()
	defer b.mu.Unlock()
	if a.closed.Load() || a.HasRung(n, seen) {
		return nil
	}
	c := b.waiting[h]
	if c == nil {
		if b.waiting == nil {
			b.waiting = map[layout.Handle]*crowd{}
		}
		c = &crowd{seen: seen, woken: make(chan struct{})}
		b.waiting[h] = c
	}
	c.n++
	if !b.watched {
		b.watched = true
		a.watchers.Go(func() { b.watch(a, n) })
	}
	return c
}

// leave takes the caller out of a crowd that may have been woken.
func (b *bell) leave(c *crowd, h layout.Handle) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.n--; c.n == 0 && b.waiting[h] == c {
		delete(b.waiting, h)
	}
}

// watch wakes those who have a reason to look, and sleeps, until nobody waits.
func (b *bell) watch(a *Arena, n int) {
	var others []layout.Handle
	for {
		seen, ok := b.rouse(a, n, &others)
		if !ok {
			return
		}
		a.shared.FutexWait(layout.BellOff(n), uint32(seen), bellNap)
		for _, h := range others {
			if alive, err := a.Alive(h); !alive || err != nil {
				b.wake(h)
			}
		}
	}
}

// rouse wakes those who have a reason to look. It returns the state of the bell with which
// the others wait, and sets names to those of the handles that they wait for. If nobody
// waits it reports false, and the watcher is gone.
func (b *bell) rouse(a *Arena, n int, names *[]layout.Handle) (seen layout.BellWord, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	*names = (*names)[:0]
	seen = a.bellWord(n)
	closed := a.closed.Load()
	for h, c := range b.waiting {
		if c.naps++; c.seen != seen || closed || c.naps > bellNaps {
			close(c.woken)
			delete(b.waiting, h)
		} else if h != 0 {
			*names = append(*names, h)
		}
	}
	b.watched = len(b.waiting) > 0
	return seen, b.watched
}

// wake wakes those who wait for the death of a handle.
func (b *bell) wake(h layout.Handle) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c := b.waiting[h]; c != nil {
		close(c.woken)
		delete(b.waiting, h)
	}
}

// closeBells ends the watchers of a closed handle, which wake all who wait. A watcher that
// is about to sleep has seen that somebody listens. So the bell's word has changed since,
// or it changes now.
func (a *Arena) closeBells() {
	for n := range a.bells {
		b := &a.bells[n]
		b.mu.Lock()
		watched := b.watched
		b.mu.Unlock()
		if watched {
			a.Ring(n)
		}
	}
	a.watchers.Wait()
}
