package cache

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/seed-869cc763/shmkv/shm"
)

// A move is what a caller is to do next.
type move uint8

const (
	busy  move = iota // wait for another one
	won               // create
	ready             // return
)

// A creation is a caller of GetOrCreate, and what it knows.
type creation struct {
	c     *Cache
	key   []byte
	o     *createOptions
	index int // of the key, in GetOrCreateMany

	next  move
	value []byte // the result, or the stale value of a creation that was won
	err   error

	awaited uint64    // number of the claim that it waits for, or 0
	owner   shm.Owner // of that claim

	number uint64 // of the claim that it has
	was    tail   // of the item when it got the claim; without a token if there was none
	rule   rule   // of the region at that time
	there  bool   // value is a stale one
}

// end makes the creation ready.
func (k *creation) end(value []byte, err error) {
	k.next, k.value, k.err = ready, value, err
}

// await looks until there is something to do.
func (k *creation) await(ctx context.Context) error {
	waits := false
	err := k.c.bell(k.key).Await(ctx, func() (shm.Owner, bool) {
		if k.look(); k.next == busy && !waits {
			waits = true
			k.c.stats.waits.Add(1)
		}
		return k.owner, k.next != busy
	})
	return k.c.fail("waiting for the creation of", k.key, err)
}

// look finds out what the caller is to do.
func (k *creation) look() {
	k.next, k.owner = busy, 0
	for k.next == busy {
		if held, err := k.try(); err != nil {
			k.end(nil, k.c.fail("creating", k.key, err))
		} else if held {
			return
		}
	}
}

// item reads the item: it is fresh, stale, or not there. The tail is also that of an item
// that has expired.
func (k *creation) item() (it Item, t tail, there bool, err error) {
	if k.rule, err = k.c.begin(); err != nil {
		return it, t, false, err
	}
	b, err := k.c.items.Get(k.key)
	if err == shm.ErrNotFound {
		return it, t, false, nil
	}
	if err != nil {
		return it, t, false, err
	}
	value, t, err := split(b)
	if err != nil {
		return it, t, false, err
	}
	now := k.c.clock.now()
	return t.item(value, k.rule, now), t, !has(t.expires, now), nil
}

// try looks once. If the claim is held by another one, there is nothing to do but to wait. If
// the move stays busy otherwise, somebody has changed the claim meanwhile.
func (k *creation) try() (held bool, err error) {
	c := k.c
	it, _, there, err := k.item()
	if err != nil {
		return false, err
	}
	if there && !it.Stale {
		k.end(it.Value, nil)
		return false, nil
	}
	old, err := c.claims().Get(k.key)
	var cl claim
	switch {
	case err == nil:
		if cl, err = readClaim(old); err != nil {
			return false, err
		}
	case err == shm.ErrNotFound:
		old = nil
	default:
		return false, err
	}
	now := c.clock.now()
	if k.awaited != 0 && cl.failed == k.awaited {
		err := shm.ErrNotFound
		if !cl.absent {
			err = c.fail("creating", k.key, fmt.Errorf("%w: %s", ErrCreate, cl.why))
		}
		k.end(nil, err)
		return false, nil
	}
	if counts := old != nil && !has(cl.until, now); counts && cl.owner != 0 {
		if held, err = c.store.Alive(cl.owner); err != nil {
			return false, err
		}
	} else if counts && cl.known && !there {
		k.end(nil, shm.ErrNotFound)
		return false, nil
	}
	if held {
		if there {
			k.end(it.Value, nil)
		}
		k.awaited, k.owner = cl.number, cl.owner
		return true, nil
	}
	return false, k.take(old, cl)
}

// take replaces a claim that nobody holds by one of this handle (rule G1).
func (k *creation) take(old []byte, was claim) error {
	c := k.c
	me, err := c.store.Owner()
	if err != nil {
		return err
	}
	next := claim{number: newToken(), owner: me, until: c.clock.now() + int64(k.o.lease), failed: was.failed, absent: was.absent, why: was.why}
	taken := false
	err = c.write("claiming", k.key, bytesOf(len(k.key), claimNeed), func() (err error) {
		taken, err = c.claims().CompareAndSwap(k.key, old, next.bytes())
		return err
	})
	if err != nil || !taken {
		return err
	}
	k.number = next.number
	if was.owner != 0 {
		c.stats.takeovers.Add(1)
	}
	it, t, there, err := k.item()
	if err != nil {
		k.release()
		return err
	}
	if there && !it.Stale {
		k.release()
		k.end(it.Value, nil)
		return nil
	}
	k.next, k.was, k.there, k.value = won, t, there, nil
	if there {
		k.value = it.Value
	}
	if rand.IntN(claimsPerSweep) == 0 {
		c.sweepClaims()
	}
	return nil
}

// release drops the claim, and lets the next one create.
func (k *creation) release() {
	_, err := k.c.changeClaim(k.key, k.number, func(*claim) shm.Action { return shm.ActionDelete })
	k.ring(err)
}

// fail drops the claim, and lets those who wait know why.
func (k *creation) fail(why string) {
	c := k.c
	_, err := c.changeClaim(k.key, k.number, func(cl *claim) shm.Action {
		*cl = claim{number: k.number, until: c.clock.now() + int64(failedFor), failed: k.number, why: why[:min(len(why), longestWhy)]}
		return shm.ActionSet
	})
	if errors.Is(err, shm.ErrFull) {
		k.release()
		return
	}
	k.ring(err)
	c.sweepClaims()
}

// ring wakes those who wait.
func (k *creation) ring(err error) {
	if e := k.c.bell(k.key).Ring(); err == nil {
		err = e
	}
	if err != nil && !errors.Is(err, shm.ErrClosed) && k.c.log != nil {
		k.c.log.Warn("dropping a claim failed", "region", k.c.region, "err", err)
	}
}

// store makes value the value of key, and drops the claim (rule G2). A nil
// value means that the key is known to have none.
func (k *creation) store(value []byte) error {
	c := k.c
	var room []byte
	if value != nil {
		it := Item{Value: value}
		it.Expires, it.StaleAfter = k.o.times(c)
		t := it.tail(k.rule)
		room = t.appendTo(append(make([]byte, 0, len(value)+Overhead), value...))
		if t.expires != 0 {
			c.hasExpiry()
		}
	}
	need, err := c.needOf(len(k.key), len(room))
	if err != nil {
		k.fail(err.Error())
		return c.fail("creating", k.key, err)
	}
	if value != nil && !c.admit(need) {
		k.fail("no room")
		return c.full("creating", k.key, need, shm.ErrFull)
	}
	err = c.write("creating", k.key, need+bytesOf(len(k.key), claimNeed), func() error {
		return c.store.Update(func(tx *shm.Tx) error {
			claims, items := tx.Map(ClaimsPrefix+c.region), tx.Map(c.region)
			b, err := claims.Get(k.key)
			if err == shm.ErrNotFound {
				return nil
			}
			if err != nil {
				return err
			}
			if cl, err := readClaim(b); err != nil || cl.number != k.number {
				return err
			}
			var now tail
			if b, err = items.Get(k.key); err == nil {
				_, now, err = split(b)
			}
			if err != nil && err != shm.ErrNotFound {
				return err
			}
			// An item that has expired may have been swept.
			same := now.token == k.was.token || now.token == 0 && has(k.was.expires, c.clock.now())
			switch {
			case same && value == nil:
				if now.token != 0 {
					if _, err := items.Delete(k.key); err != nil {
						return err
					}
				}
				return claims.Set(k.key, k.absent().bytes())
			case same:
				if err := items.Set(k.key, room); err != nil {
					return err
				}
			}
			_, err = claims.Delete(k.key)
			return err
		})
	})
	if err != nil {
		k.fail(err.Error())
		return err
	}
	k.ring(nil)
	c.sweepSome()
	return nil
}

// absent is the claim that is left of a creation that has found that there is no value. It
// tells those who wait, and with WithAbsentTTL all who ask.
func (k *creation) absent() claim {
	known := k.o.absent > 0
	lasts := failedFor
	if known {
		lasts = k.o.absent
	}
	return claim{number: k.number, until: k.c.clock.now() + int64(lasts), failed: k.number, absent: true, known: known}
}

// keepLeases renews the claims until stop is called. If one was lost, it cancels.
func keepLeases(all []*creation, lost context.CancelCauseFunc) (stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	lease := all[0].o.lease
	go func() {
		defer close(done)
		tick := time.NewTicker(max(lease/3, time.Millisecond))
		defer tick.Stop()
		for {
			select {
			case <-quit:
				return
			case <-tick.C:
			}
			for _, k := range all {
				own, err := k.c.changeClaim(k.key, k.number, func(cl *claim) shm.Action {
					cl.until = k.c.clock.now() + int64(lease)
					return shm.ActionSet
				})
				if err == nil && !own {
					lost(errClaimLost)
					return
				}
			}
		}
	}()
	stopped := false
	return func() {
		if !stopped {
			stopped = true
			close(quit)
			<-done
		}
	}
}
