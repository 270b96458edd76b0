package cache

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/shm"
)

// A loop over a view shows each item of its version that has not expired, once.
func TestViewAll(t *testing.T) {
	clock := newClock()
	c := open(t, &Options{Now: clock.now})
	want := map[string]Item{}
	for i := range 300 {
		key := fmt.Sprint("key ", i)
		it := Item{Value: []byte(key), Flags: uint32(i), Marks: uint8(i)}
		if i%3 == 0 {
			it.Expires = clock.now().Add(time.Duration(i+1) * time.Second)
		}
		var err error
		it.Token, err = c.SetItem([]byte(key), it, Always)
		require.NoError(t, err)
		want[key] = it
	}
	require.NoError(t, c.Invalidate(true))
	clock.advance(100 * time.Second)
	before := c.Stats().Counts
	maps.DeleteFunc(want, func(_ string, it Item) bool { return !it.Expires.IsZero() && !clock.now().Before(it.Expires) })
	require.Less(t, len(want), 300)
	require.NoError(t, c.View(func(v *View) error {
		require.NoError(t, c.Set([]byte("later"), nil, 0))
		_, err := c.Delete([]byte("key 1"))
		require.NoError(t, err)
		found := map[string]bool{}
		for key, it := range v.All() {
			w, ok := want[string(key)]
			require.True(t, ok, "%q", key)
			require.False(t, found[string(key)])
			found[string(key)] = true
			w.Stale = true
			equalItem(t, w, it)
		}
		require.NoError(t, v.Err())
		require.Len(t, found, len(want))
		for range v.All() {
			break
		}
		return v.Err()
	}))
	after := c.Stats().Counts
	require.Equal(t, before.Hits+before.Misses, after.Hits+after.Misses)
}

// A view shows nothing after a flush whose time has come, also to a handle that cannot flush.
func TestViewAfterAFlush(t *testing.T) {
	clock := newClock()
	c := open(t, &Options{Now: clock.now})
	require.NoError(t, c.Set([]byte("key"), nil, 0))
	require.NoError(t, c.Flush(clock.now().Add(time.Second)))
	s, err := shm.Open(c.Store().Path(), &shm.Options{ReadOnly: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	r, err := New(s, &Options{Now: clock.now})
	require.NoError(t, err)
	defer func() { require.NoError(t, r.Close()) }()
	for _, want := range []int{1, 0} {
		for _, c := range []*Cache{r, c} {
			n := 0
			require.NoError(t, c.View(func(v *View) error {
				for range v.All() {
					n++
				}
				return v.Err()
			}))
			require.Equal(t, want, n)
		}
		clock.advance(time.Second)
	}
}

// A loop ends at an entry that is no item, or when its view has ended, and Err says so.
func TestViewErrors(t *testing.T) {
	c := open(t, nil)
	require.NoError(t, c.items.Set([]byte("key"), []byte("short")))
	require.NoError(t, c.View(func(v *View) error {
		for range v.All() {
			t.Fatal("a loop shows what is no item")
		}
		require.ErrorIs(t, v.Err(), shm.ErrCorrupt)
		require.ErrorContains(t, v.Err(), `reading "key"`)
		return nil
	}))
	require.NoError(t, c.Set([]byte("key"), nil, 0))
	var kept *View
	require.NoError(t, c.View(func(v *View) error {
		kept = v
		return nil
	}))
	for range kept.All() {
		t.Fatal("a loop shows items after its view has ended")
	}
	require.ErrorIs(t, kept.Err(), shm.ErrClosed)
	require.NoError(t, c.regions.Set(c.name, []byte("short")))
	require.ErrorIs(t, c.View(func(*View) error { return nil }), shm.ErrCorrupt)
}
