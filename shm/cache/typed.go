package cache

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/codec"
	"github.com/seed-869cc763/shmkv/shm/internal/pair"
)

// A Typed is a cache of Go values: a view of a Cache whose keys are of type K and whose values
// are of type V. Its methods may be called by many goroutines at once. Values that they return
// share no memory with the cache, and the zero V comes with each error.
//
// A view costs nothing. Each type of value needs a region of its own, unless the codec tells
// values of different types apart. An error of a codec names the key and the type. If the
// bytes of a value are not those of a V, the error matches codec.ErrDecode.
type Typed[K comparable, V any] struct {
	c    *Cache
	pair pair.Pair[K, V]
}

// NewTyped returns a view of c with these codecs, from which K and V follow:
//
//	users := cache.NewTyped(c, codec.Int[uint32]{}, codec.JSON[User]{})
func NewTyped[K comparable, V any](c *Cache, keys codec.Codec[K], values codec.Codec[V]) *Typed[K, V] {
	return &Typed[K, V]{c, pair.Pair[K, V]{Keys: keys, Values: values}}
}

// A TypedItem is an Item with its value of type V.
type TypedItem[V any] struct {
	Value V
	// The others are those of Item.
	Flags      uint32
	Marks      uint8
	Expires    time.Time
	StaleAfter time.Time
	Token      uint64
	Stale      bool
}

// Cache returns the cache of the view.
func (t *Typed[K, V]) Cache() *Cache { return t.c }

// fail wraps the error of a codec.
func (t *Typed[K, V]) fail(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("cache: region %.40q: %w", t.c.region, err)
}

// key returns a buffer with the bytes of key.
func (t *Typed[K, V]) key(key K) (*pair.Buffer, error) {
	b := pair.Borrow()
	var err error
	if b.Key, err = t.pair.AppendKey(b.Key, key); err != nil {
		b.Return()
		return nil, t.fail(err)
	}
	return b, nil
}

// both returns a buffer with the bytes of key and value.
func (t *Typed[K, V]) both(key K, value V) (*pair.Buffer, error) {
	b, err := t.key(key)
	if err != nil {
		return nil, err
	}
	if b.Value, err = t.pair.AppendValue(b.Value, key, value); err != nil {
		b.Return()
		return nil, t.fail(err)
	}
	return b, nil
}

// Get returns the value of key, or shm.ErrNotFound. Beside what the codecs allocate it
// allocates nothing.
func (t *Typed[K, V]) Get(key K) (value V, err error) {
	b, err := t.key(key)
	if err != nil {
		return value, err
	}
	defer b.Return()
	if b.Value, err = t.c.Append(b.Value, b.Key); err != nil {
		return value, err
	}
	value, err = t.pair.DecodeValue(key, b.Value)
	return value, t.fail(err)
}

// GetItem is Get with all that belongs to the value, such as the Token for CompareAndSwap.
func (t *Typed[K, V]) GetItem(key K) (TypedItem[V], error) {
	return t.item(key, func(b *pair.Buffer) (Item, error) { return t.c.AppendItem(b.Value, b.Key) })
}

// GetAndTouch is Touch, and returns the item with its new end.
func (t *Typed[K, V]) GetAndTouch(key K, ttl time.Duration) (TypedItem[V], error) {
	return t.item(key, func(b *pair.Buffer) (Item, error) { return t.c.AppendAndTouch(b.Value, b.Key, t.c.ends(ttl)) })
}

func (t *Typed[K, V]) item(key K, get func(b *pair.Buffer) (Item, error)) (typed TypedItem[V], err error) {
	b, err := t.key(key)
	if err != nil {
		return typed, err
	}
	defer b.Return()
	it, err := get(b)
	if err != nil {
		return typed, err
	}
	value, err := t.pair.DecodeValue(key, it.Value)
	if err != nil {
		return typed, t.fail(err)
	}
	return TypedItem[V]{value, it.Flags, it.Marks, it.Expires, it.StaleAfter, it.Token, it.Stale}, nil
}

// GetMany returns the values of those of keys that are in the cache, in one version of it. If
// some cannot be decoded, it returns the others, and the error of one of them.
func (t *Typed[K, V]) GetMany(keys []K) (map[K]V, error) {
	raw, err := t.keys(keys)
	if err != nil {
		return nil, err
	}
	found := make(map[K]V, len(keys))
	var failed error
	err = t.c.GetMany(raw, func(i int, it Item, ok bool) {
		if !ok {
			return
		}
		if value, err := t.pair.DecodeValue(keys[i], it.Value); err != nil {
			failed = t.fail(err)
		} else {
			found[keys[i]] = value
		}
	})
	if err != nil {
		return nil, err
	}
	return found, failed
}

// keys returns the bytes of keys.
func (t *Typed[K, V]) keys(keys []K) ([][]byte, error) {
	raw := make([][]byte, len(keys))
	for i, key := range keys {
		var err error
		if raw[i], err = t.pair.AppendKey(nil, key); err != nil {
			return nil, t.fail(err)
		}
	}
	return raw, nil
}

// Set makes value the value of key. It ends after ttl; 0 means Options.TTL, and less than 0
// never.
func (t *Typed[K, V]) Set(key K, value V, ttl time.Duration) error {
	return t.set(key, TypedItem[V]{Value: value, Expires: t.c.ends(ttl)}, Always)
}

// Add is Set for a key that is not in the cache. If it is, the error matches shm.ErrExist.
func (t *Typed[K, V]) Add(key K, value V, ttl time.Duration) error {
	return t.set(key, TypedItem[V]{Value: value, Expires: t.c.ends(ttl)}, IfAbsent)
}

// Replace is Set for a key that is in the cache. If it is not, the error is shm.ErrNotFound.
func (t *Typed[K, V]) Replace(key K, value V, ttl time.Duration) error {
	return t.set(key, TypedItem[V]{Value: value, Expires: t.c.ends(ttl)}, IfPresent)
}

// CompareAndSwap is Set for an item that has this token still. If it was written since, the
// error matches ErrToken, and if it is not there, it is shm.ErrNotFound.
func (t *Typed[K, V]) CompareAndSwap(key K, token uint64, value V, ttl time.Duration) error {
	return t.set(key, TypedItem[V]{Value: value, Token: token, Expires: t.c.ends(ttl)}, IfToken)
}

func (t *Typed[K, V]) set(key K, it TypedItem[V], cond Condition) error {
	_, err := t.SetItem(key, it, cond)
	return err
}

// SetItem writes an item, as [Cache.SetItem] does, and returns its token.
func (t *Typed[K, V]) SetItem(key K, it TypedItem[V], cond Condition) (token uint64, err error) {
	b, err := t.both(key, it.Value)
	if err != nil {
		return 0, err
	}
	defer b.Return()
	return t.c.SetItem(b.Key, Item{b.Value, it.Flags, it.Marks, it.Expires, it.StaleAfter, it.Token, it.Stale}, cond)
}

// Update lets fn change the value of key, in one step among all processes. A value that is
// not in the cache is the zero V. It ends after ttl, as Set says, and keeps its flags. If fn
// returns an error nothing is written, and Update returns the error. fn is called again, with
// the value that there is then, if another write came first.
func (t *Typed[K, V]) Update(key K, ttl time.Duration, fn func(value *V) error) error {
	for {
		cond := IfToken
		it, err := t.GetItem(key)
		if err == shm.ErrNotFound {
			cond = IfAbsent
		} else if err != nil {
			return err
		}
		if err := fn(&it.Value); err != nil {
			return err
		}
		it.Expires, it.StaleAfter = t.c.ends(ttl), time.Time{}
		err = t.set(key, it, cond)
		lost := errors.Is(err, ErrToken) || cond == IfToken && err == shm.ErrNotFound || cond == IfAbsent && errors.Is(err, shm.ErrExist)
		if !lost {
			return err
		}
	}
}

// Touch makes the item of key end after ttl from now, as Set does. Without an item the error
// is shm.ErrNotFound.
func (t *Typed[K, V]) Touch(key K, ttl time.Duration) error {
	b, err := t.key(key)
	if err != nil {
		return err
	}
	defer b.Return()
	return t.c.Touch(b.Key, ttl)
}

// Delete removes the item of key, and reports whether there was one.
func (t *Typed[K, V]) Delete(key K) (existed bool, err error) {
	b, err := t.key(key)
	if err != nil {
		return false, err
	}
	defer b.Return()
	return t.c.Delete(b.Key)
}

// GetOrCreate returns the value of key, and if there is none that of create, which it stores.
// See [Cache.GetOrCreate]: among all goroutines of all processes one calls create. If a value
// that is in the cache cannot be decoded, create is not called; the error matches
// codec.ErrDecode, and after a Delete the next call creates.
func (t *Typed[K, V]) GetOrCreate(ctx context.Context, key K, create func(ctx context.Context) (V, error), opts ...CreateOption) (value V, err error) {
	b, err := t.key(key)
	if err != nil {
		return value, err
	}
	defer b.Return()
	it, err := t.c.AppendItem(b.Value, b.Key)
	if b.Value = it.Value; err != nil && err != shm.ErrNotFound {
		return value, err
	}
	if err != nil || it.Stale {
		return t.createOne(ctx, key, b.Key, create, opts)
	}
	value, err = t.pair.DecodeValue(key, b.Value)
	return value, t.fail(err)
}

// createOne is GetOrCreate after a read that has found no fresh item. raw is the key.
func (t *Typed[K, V]) createOne(ctx context.Context, key K, raw []byte, create func(ctx context.Context) (V, error), opts []CreateOption) (value V, err error) {
	data, err := t.c.createOne(ctx, raw, func(ctx context.Context) ([]byte, error) {
		value, err := create(ctx)
		if err != nil && !errors.Is(err, ErrDoNotKeep) {
			return nil, err
		}
		data, failed := t.pair.AppendValue(nil, key, value)
		if failed != nil {
			return nil, failed
		}
		return data, err
	}, opts)
	if data == nil {
		return value, err
	}
	value, failed := t.pair.DecodeValue(key, data)
	if failed != nil {
		return value, errors.Join(err, t.fail(failed))
	}
	return value, err // of a value that could not be stored
}

// GetOrCreateMany is GetOrCreate of many keys. It calls create with those that this caller is
// to create, possibly several times. create returns the values, without those that do not
// exist: see WithAbsentTTL. The result has the values of those of keys that have one.
func (t *Typed[K, V]) GetOrCreateMany(ctx context.Context, keys []K, create func(ctx context.Context, missing []K) (map[K]V, error), opts ...CreateOption) (map[K]V, error) {
	raw, err := t.keys(keys)
	if err != nil {
		return nil, err
	}
	all, err := t.c.GetOrCreateMany(ctx, raw, func(ctx context.Context, missing [][]byte) ([][]byte, error) {
		return t.createMany(ctx, missing, create)
	}, opts...)
	if err != nil {
		return nil, err
	}
	found := make(map[K]V, len(keys))
	for i, data := range all {
		if data == nil {
			continue
		}
		if found[keys[i]], err = t.pair.DecodeValue(keys[i], data); err != nil {
			return nil, t.fail(err)
		}
	}
	return found, nil
}

func (t *Typed[K, V]) createMany(ctx context.Context, raw [][]byte, create func(ctx context.Context, missing []K) (map[K]V, error)) ([][]byte, error) {
	missing := make([]K, len(raw))
	for i, b := range raw {
		var err error
		if missing[i], err = t.pair.DecodeKey(b); err != nil {
			return nil, err
		}
	}
	values, err := create(ctx, missing)
	if err != nil && !errors.Is(err, ErrDoNotKeep) {
		return nil, err
	}
	made := make([][]byte, len(raw))
	for i, key := range missing {
		if value, ok := values[key]; ok {
			var failed error
			if made[i], failed = t.pair.AppendValue([]byte{}, key, value); failed != nil {
				return nil, failed
			}
		}
	}
	return made, err
}
