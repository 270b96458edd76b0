package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/seed-869cc763/shmkv/shm"
)

var (
	// ErrCreate: GetOrCreate waited for another caller, whose function create has returned
	// an error or has panicked. The error has the text of that error. The next call creates.
	ErrCreate = errors.New("the creation failed elsewhere")
	// ErrDoNotKeep is for functions that create: a value that is returned with an error that
	// matches it is the caller's result, without an error, and is not stored. Others who
	// waited for it create one each, one after the other.
	ErrDoNotKeep = errors.New("value is not to be kept")
	// errClaimLost is the cause with which the context of a creator ends.
	errClaimLost = errors.New("another process has taken the creation over")
)

// GetOrCreate returns the value of key, and if there is none that of create, which it stores.
// Among all goroutines of all processes that ask for the key at the same time one calls
// create. While it works, the others get the stale value if there is one, and sleep
// otherwise, until the value is there, their context ends, or the creator fails. They get an
// error that matches ErrCreate then, and the next caller creates. A panic of create, or the
// end of its goroutine, is a failure. If only the context of the creator ended, one of those
// who wait creates.
//
// If the process of the creator is killed, or is stopped for longer than its lease (see
// WithLease), exactly one of those who wait takes over: within a tenth of a second after a
// SIGKILL, and within a second after the end of the lease. A creator that was taken over, or
// whose item was written by others while it worked, stores nothing; its caller gets the value.
// A Flush counts as a write by others, and so does a Delete if there was an item. The context
// of create ends with that of the caller, and when another process has taken over. create must
// not ask for the same key.
//
// If the error of create matches ErrDoNotKeep, its value is returned and not stored. If it
// matches shm.ErrNotFound, see WithAbsentTTL. If its value cannot be stored, the value is
// returned with the error of [Cache.SetItem]. The value is the caller's own.
func (c *Cache) GetOrCreate(ctx context.Context, key []byte, create func(ctx context.Context) ([]byte, error), opts ...CreateOption) ([]byte, error) {
	it, err := c.AppendItem(nil, key)
	if err == nil && !it.Stale {
		return it.Value, nil
	}
	if err != nil && err != shm.ErrNotFound {
		return nil, err
	}
	return c.createOne(ctx, key, create, opts)
}

// createOne is GetOrCreate after a read that has found no fresh item.
func (c *Cache) createOne(ctx context.Context, key []byte, create func(ctx context.Context) ([]byte, error), opts []CreateOption) ([]byte, error) {
	k := &creation{c: c, key: key, o: completeCreate(opts)}
	if err := k.await(ctx); err != nil {
		return nil, err
	}
	if k.next == won {
		err := createAll(ctx, []*creation{k}, func(ctx context.Context, _ [][]byte) ([][]byte, error) {
			value, err := create(ctx)
			if value == nil {
				value = []byte{}
			}
			return [][]byte{value}, err
		})
		if err != nil {
			return nil, err
		}
	}
	return k.value, k.err
}

// GetOrCreateMany is GetOrCreate of many keys. It calls create with those that this caller is
// to create, possibly several times; each key is created by one caller among all processes.
// create returns a value for each, in the same order. A nil value means that there is none:
// see WithAbsentTTL. The result has a value for each of keys, and nil where there is none.
// An error of create is one for all the keys that it got.
func (c *Cache) GetOrCreateMany(ctx context.Context, keys [][]byte, create func(ctx context.Context, missing [][]byte) ([][]byte, error), opts ...CreateOption) ([][]byte, error) {
	values := make([][]byte, len(keys))
	o := completeCreate(opts)
	var left []*creation
	for i, key := range keys {
		it, err := c.AppendItem(nil, key)
		if err != nil && err != shm.ErrNotFound {
			return nil, err
		}
		if values[i] = it.Value; err != nil || it.Stale {
			left = append(left, &creation{c: c, key: key, o: o, index: i})
		}
	}
	for len(left) > 0 {
		// Whoever has a claim does not wait, so no two wait for each other.
		var own []*creation
		var other *creation
		for _, k := range left {
			switch k.look(); k.next {
			case won:
				own = append(own, k)
			case busy:
				other = k
			}
		}
		if len(own) == 0 && other != nil {
			if err := other.await(ctx); err != nil {
				return nil, err
			}
			if other.next == won {
				own = append(own, other)
			}
		}
		if len(own) > 0 {
			if err := createAll(ctx, own, create); err != nil {
				return nil, err
			}
		}
		var rest []*creation
		for _, k := range left {
			switch {
			case k.next != ready:
				rest = append(rest, k)
			case k.err != nil && k.err != shm.ErrNotFound:
				return nil, k.err
			default:
				values[k.index] = k.value
			}
		}
		left = rest
	}
	return values, nil
}

// createAll lets create make the values of creations that have claims, and makes them ready.
// An error is one for all.
func createAll(ctx context.Context, all []*creation, create func(ctx context.Context, keys [][]byte) ([][]byte, error)) error {
	var now, later []*creation
	for _, k := range all {
		if k.there && k.o.background {
			later = append(later, k)
		} else {
			now = append(now, k)
		}
	}
	if len(later) > 0 {
		detached := make([]*creation, len(later))
		for i, k := range later {
			d := *k
			d.key = bytes.Clone(k.key)
			detached[i] = &d
			k.end(k.value, nil)
		}
		go func() { _ = createNow(context.WithoutCancel(ctx), detached, create) }()
	}
	if len(now) == 0 {
		return nil
	}
	return createNow(ctx, now, create)
}

func createNow(caller context.Context, all []*creation, create func(ctx context.Context, keys [][]byte) ([][]byte, error)) error {
	all[0].c.stats.creations.Add(uint64(len(all)))
	ctx, cancel := context.WithCancelCause(caller)
	stop := keepLeases(all, cancel)
	returned := false
	defer func() {
		stop()
		cancel(nil)
		if !returned {
			for _, k := range all {
				k.fail("the function that creates has panicked, or has ended its goroutine")
			}
		}
	}()
	keys := make([][]byte, len(all))
	for i, k := range all {
		keys[i] = k.key
	}
	values, err := create(ctx, keys)
	stop()
	returned = true
	c := all[0].c
	keep := true
	switch {
	case errors.Is(err, ErrDoNotKeep):
		keep, err = false, nil
	case errors.Is(err, shm.ErrNotFound):
		err, values = nil, make([][]byte, len(all))
	case err != nil && caller.Err() != nil:
		for _, k := range all {
			k.release()
		}
		return c.fail("creating", all[0].key, err)
	}
	if err == nil && len(values) != len(all) {
		err = fmt.Errorf("found %d values for %d keys", len(values), len(all))
	}
	if err != nil {
		for _, k := range all {
			k.fail(err.Error())
		}
		return c.fail("creating", all[0].key, err)
	}
	for i, k := range all {
		var failed error
		if keep {
			failed = k.store(values[i])
		} else {
			k.release()
		}
		if failed == nil && values[i] == nil {
			failed = shm.ErrNotFound
		}
		k.end(values[i], failed)
	}
	return nil
}
