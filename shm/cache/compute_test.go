package cache

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/shm"
)

// becomes is a function of Compute that decides the same whatever there is.
func becomes(it Item, do shm.Action) func(Item, bool) (Item, shm.Action, error) {
	return func(Item, bool) (Item, shm.Action, error) { return it, do, nil }
}

// Compute does what its function decides, and returns what there is then.
func TestCompute(t *testing.T) {
	clock := newClock()
	c := open(t, &Options{Now: clock.now})
	key := []byte("key")
	kept, err := c.Compute(key, func(it Item, exists bool) (Item, shm.Action, error) {
		require.False(t, exists)
		require.Zero(t, it)
		return Item{Value: []byte("not written")}, shm.ActionKeep, nil
	})
	require.NoError(t, err)
	require.Zero(t, kept)
	gone, err := c.Compute(key, becomes(Item{}, shm.ActionDelete))
	require.NoError(t, err)
	require.Zero(t, gone)

	want := Item{Value: []byte("value"), Flags: 7, Marks: 200, Expires: clock.now().Add(time.Minute), StaleAfter: clock.now().Add(time.Second)}
	made, err := c.Compute(key, becomes(want, shm.ActionSet))
	require.NoError(t, err)
	require.NotZero(t, made.Token)
	require.Nil(t, made.Value)
	want.Token = made.Token
	same(t, c, want)

	// An item with the token that it had is changed, and with another one it is written.
	require.NoError(t, c.Invalidate(true))
	changed, err := c.Compute(key, func(it Item, exists bool) (Item, shm.Action, error) {
		require.True(t, exists)
		require.Equal(t, "value", string(it.Value))
		require.True(t, it.Stale)
		it.Marks, it.Value = 3, it.Value[:3]
		return it, shm.ActionSet, nil
	})
	require.NoError(t, err)
	want.Value, want.Marks, want.Stale = []byte("val"), 3, true
	same(t, c, want)
	want.Value = nil
	equalItem(t, want, changed)
	_, err = c.Compute(key, func(it Item, _ bool) (Item, shm.Action, error) {
		it.Token++
		return it, shm.ActionSet, nil
	})
	require.NoError(t, err)
	want.Value, want.Stale = []byte("val"), false
	want.Token++
	same(t, c, want)

	kept, err = c.Compute(key, becomes(Item{}, shm.ActionKeep))
	require.NoError(t, err)
	require.Equal(t, want.Token, kept.Token)
	require.Nil(t, kept.Value)

	failure := errors.New("failure")
	_, err = c.Compute(key, func(Item, bool) (Item, shm.Action, error) { return Item{}, shm.ActionDelete, failure })
	require.ErrorIs(t, err, failure)
	require.ErrorContains(t, err, `computing "key" in region "cache"`)
	_, err = c.Compute(key, func(Item, bool) (Item, shm.Action, error) { return Item{}, shm.ActionSet, shm.ErrFull })
	require.ErrorIs(t, err, shm.ErrFull)
	_, err = c.Compute(key, becomes(Item{}, 9))
	require.ErrorContains(t, err, "the action 9")
	_, err = c.Compute(key, func(Item, bool) (Item, shm.Action, error) {
		return Item{}, shm.ActionKeep, c.Set([]byte("other"), nil, 0)
	})
	require.ErrorIs(t, err, shm.ErrNested)
	_, err = c.Compute(key, becomes(Item{Value: make([]byte, 16<<20)}, shm.ActionSet))
	require.ErrorIs(t, err, shm.ErrTooLarge)
	same(t, c, want)

	// What has expired is not there, and a delete takes it away.
	clock.advance(time.Hour)
	gone, err = c.Compute(key, func(it Item, exists bool) (Item, shm.Action, error) {
		require.False(t, exists)
		require.Zero(t, it)
		return it, shm.ActionDelete, nil
	})
	require.NoError(t, err)
	require.Zero(t, gone)
	require.Zero(t, c.items.Len())
	require.Zero(t, c.Stats().Misses)
}

// same compares the item of the key "key".
func same(t *testing.T, c *Cache, want Item) {
	t.Helper()
	it, err := c.AppendItem(nil, []byte("key"))
	require.NoError(t, err)
	equalItem(t, want, it)
}

func equalItem(t *testing.T, want, it Item) {
	t.Helper()
	require.True(t, want.Expires.Equal(it.Expires))
	require.True(t, want.StaleAfter.Equal(it.StaleAfter))
	it.Expires, it.StaleAfter = want.Expires, want.StaleAfter
	require.Equal(t, want, it)
}

// A write clears marks, and a change keeps them.
func TestMarks(t *testing.T) {
	c := open(t, nil)
	key := []byte("key")
	marks := func() uint8 {
		it, err := c.Get(key)
		require.NoError(t, err)
		return it.Marks
	}
	for name, change := range map[string]func() error{
		"Touch":        func() error { return c.Touch(key, time.Hour) },
		"GetAndTouch":  func() error { _, err := c.GetAndTouch(key, time.Hour); return err },
		"Increment":    func() error { _, err := c.Increment(key, 1); return err },
		"AppendValue":  func() error { _, err := c.AppendValue(key, []byte("0")); return err },
		"PrependValue": func() error { _, err := c.PrependValue(key, []byte("1")); return err },
	} {
		_, err := c.SetItem(key, Item{Value: []byte("7"), Marks: 0x81}, Always)
		require.NoError(t, err)
		require.NoError(t, change(), name)
		require.EqualValues(t, 0x81, marks(), name)
	}
	require.NoError(t, c.Replace(key, []byte("7"), 0))
	require.Zero(t, marks())
}

// Compute finds room for its items, as other writes do, whatever it did not know before.
func TestComputeInAFullCache(t *testing.T) {
	c := open(t, &Options{Bytes: MinBytes})
	n := few(20_000)
	for i := range n {
		key := fmt.Append(nil, "key ", i)
		_, err := c.Compute(key, func(_ Item, exists bool) (Item, shm.Action, error) {
			return Item{Value: make([]byte, i%900)}, shm.ActionSet, nil
		})
		require.NoError(t, err)
		if _, err = c.AppendValue(key, make([]byte, 50)); err != shm.ErrNotFound { // evicted to make room
			require.NoError(t, err)
		}
	}
	st := c.Stats()
	require.LessOrEqual(t, st.FileBytes, st.Bound)
	require.EqualValues(t, n, uint64(st.Items)+st.Evictions)
	require.LessOrEqual(t, st.LiveBytes, st.Target+2000)
}

// Increments by Compute of several goroutines are not lost.
func TestComputeIsOneStep(t *testing.T) {
	c := open(t, nil)
	key := []byte("key")
	const workers, each = 8, 200
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for range each {
				_, err := c.Compute(key, func(it Item, _ bool) (Item, shm.Action, error) {
					return Item{Flags: it.Flags + 1}, shm.ActionSet, nil
				})
				if err != nil {
					panic(err)
				}
			}
		})
	}
	all.Wait()
	it, err := c.Get(key)
	require.NoError(t, err)
	require.EqualValues(t, workers*each, it.Flags)
}
