package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/cache"
)

// besideWorks are the works of a child that only the store's cache can do. Those that compare two operations make
// them in turns, so that other work on the machine affects both:
//
//	cache-to-get         a hit, and a get from another map of the same store, with the same entries
//	cache-create-to-get  GetOrCreate of a present key, and Get of the cache
//	cache-set-to-set     a set of a new key in a cache at its bound, and in one that has room
var besideWorks = map[string]func(t task, gate func() error) (result, error){
	"cache-to-get":        hitBesideGet,
	"cache-create-to-get": createBesideGet,
	"cache-set-to-set":    setBesideSet,
	"cache-claim":         holdClaim,
}

// turn is the number of operations of one kind in a row.
const turn = 5000

// inTurns makes two operations in turns for the task's seconds. before is called before each turn of the second one,
// untimed. Both are called with the same numbers.
func inTurns(t task, gate func() error, first, second func(i uint64) error, before func() error) (r result, err error) {
	if err := gate(); err != nil {
		return r, err
	}
	var ratios []float64
	began := time.Now()
	for i := uint64(0); time.Since(began).Seconds() < t.seconds || len(ratios) < 3; i += turn {
		took := [2]time.Duration{}
		for which, op := range []func(uint64) error{first, second} {
			if which == 1 && before != nil {
				if err := before(); err != nil {
					return r, err
				}
			}
			start := time.Now()
			for j := i; j < i+turn; j++ {
				if err := op(j); err != nil {
					return r, err
				}
			}
			took[which] = time.Since(start)
		}
		ratios = append(ratios, took[0].Seconds()/took[1].Seconds())
		r.Ops += turn
		r.Nanos += took[0].Nanoseconds()
	}
	r.Ratio = summarize(ratios).Median
	return r, nil
}

// openFilled opens a cache that has all keys of a task, and a map of its store that has them too.
func openFilled(t task) (c *cache.Cache, plain *shm.Map, err error) {
	c, err = cache.Open(t.path, &cache.Options{Bytes: t.capacity})
	if err != nil {
		return nil, nil, err
	}
	plain = c.Store().Map("plain")
	var key [keyBytes]byte
	value := make([]byte, t.value)
	for k := range uint64(t.n) {
		putKey(key[:], k)
		putValue(value, k, 0)
		if err := errors.Join(c.Set(key[:], value, -1), plain.Set(key[:], value)); err != nil {
			return nil, nil, errors.Join(err, c.Close())
		}
	}
	return c, plain, nil
}

func hitBesideGet(t task, gate func() error) (r result, err error) {
	c, plain, err := openFilled(t)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	buffer := make([]byte, 0, t.value+cache.Overhead)
	var key [keyBytes]byte
	keys := sequence{seed: t.seed, n: uint64(t.n)}
	get := func(from func(dst, key []byte) ([]byte, error)) func(i uint64) error {
		return func(i uint64) error {
			putKey(key[:], keys.draw(i))
			_, err := from(buffer, key[:])
			return err
		}
	}
	return inTurns(t, gate, get(c.Append), get(plain.Append), nil)
}

func createBesideGet(t task, gate func() error) (r result, err error) {
	c, _, err := openFilled(t)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	var key [keyBytes]byte
	keys := sequence{seed: t.seed, n: uint64(t.n)}
	ctx := context.Background()
	create := func(context.Context) ([]byte, error) { return nil, errors.New("the key was there") }
	return inTurns(t, gate, func(i uint64) error {
		putKey(key[:], keys.draw(i))
		_, err := c.GetOrCreate(ctx, key[:], create)
		return err
	}, func(i uint64) error {
		putKey(key[:], keys.draw(i))
		_, err := c.Get(key[:])
		return err
	}, nil)
}

// setBesideSet sets new keys. The cache that has room gets as many items as the other one, and is made again when it
// has a quarter more.
func setBesideSet(t task, gate func() error) (r result, err error) {
	value, next := make([]byte, t.value), splitmix64(t.seed)
	set := func(c *cache.Cache) error {
		var key [keyBytes]byte
		next++
		putKey(key[:], next)
		return c.Set(key[:], value, -1)
	}
	if err := os.Mkdir(t.path, 0o700); err != nil {
		return r, err
	}
	full, err := cache.Open(filepath.Join(t.path, "full"), &cache.Options{Bytes: t.capacity})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, full.Close()) }()
	for range int(t.capacity / int64(keyBytes+t.value)) {
		if err := set(full); err != nil {
			return r, err
		}
	}
	st := full.Stats()
	if st.Evictions == 0 {
		return r, fmt.Errorf("found no evictions, expected some: %+v", st)
	}
	items := int(st.Items)
	var wide *cache.Cache
	defer func() {
		if wide != nil {
			err = errors.Join(err, wide.Close())
		}
	}()
	left := 0
	widen := func() error {
		if left -= turn; left >= 0 {
			return nil
		}
		path := filepath.Join(t.path, "wide")
		if wide != nil {
			if err := errors.Join(wide.Close(), os.RemoveAll(path)); err != nil {
				return err
			}
			wide = nil
		}
		c, err := cache.Open(path, &cache.Options{Bytes: 1 << 30})
		if err != nil {
			return err
		}
		wide, left = c, items/4
		for range items - items/8 {
			if err := set(wide); err != nil {
				return err
			}
		}
		return nil
	}
	return inTurns(t, gate, func(uint64) error { return set(full) }, func(uint64) error { return set(wide) }, widen)
}

// claimedKey is the key that holdClaim creates and never makes.
const claimedKey = "claimed"

// holdClaim asks for a key and never creates it.
func holdClaim(t task, gate func() error) (r result, err error) {
	c, err := cache.Open(t.path, &cache.Options{Bytes: t.capacity})
	if err != nil {
		return r, err
	}
	claimed, ctx := make(chan struct{}), context.Background()
	go c.GetOrCreate(ctx, []byte(claimedKey), func(context.Context) ([]byte, error) {
		close(claimed)
		select {}
	})
	<-claimed
	return r, gate()
}

// timeTakeover measures the time from a SIGKILL of the creator of a key until a waiter creates it.
func timeTakeover(ctx context.Context, p peer, t task) (took time.Duration, err error) {
	t.work = "cache-claim"
	creator, err := start(ctx, p, t)
	if err != nil {
		return 0, err
	}
	defer creator.end()
	c, err := cache.Open(t.path, &cache.Options{Bytes: t.capacity})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	var began, created time.Time
	done := make(chan error, 1)
	go func() {
		_, err := c.GetOrCreate(ctx, []byte(claimedKey), func(context.Context) ([]byte, error) {
			created = time.Now()
			return nil, cache.ErrDoNotKeep
		})
		done <- err
	}()
	select {
	case err := <-done:
		return 0, fmt.Errorf("found that the waiter did not wait: %v", err)
	case <-time.After(settle):
	}
	began = time.Now()
	if err := creator.kill(); err != nil {
		return 0, err
	}
	if err := <-done; err != nil {
		return 0, err
	}
	return created.Sub(began), nil
}
