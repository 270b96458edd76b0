package cache

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/shm"
)

// heard collects the evictions of a handle, by token.
type heard struct {
	mu    sync.Mutex
	items map[uint64]evicted
	twice int
}

func listen(c *Cache) (h *heard, stop func()) {
	h = &heard{items: map[uint64]evicted{}}
	return h, c.OnEvict(func(key []byte, it Item) {
		h.mu.Lock()
		defer h.mu.Unlock()
		if _, ok := h.items[it.Token]; ok {
			h.twice++
		}
		h.items[it.Token] = evicted{key, it}
	})
}

func (h *heard) len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.items)
}

// What was written is in the cache, or its eviction was told, once and as it was.
func TestOnEvict(t *testing.T) {
	clock := newClock()
	c := open(t, &Options{Bytes: MinBytes, Now: clock.now})
	h, stop := listen(c)
	n := max(few(18_000), 9_000) // three times what there is room for, at least
	written := map[uint64]string{}
	for i := range n {
		key := fmt.Append(nil, "key ", i)
		it := Item{Value: fmt.Appendf(nil, "%0*d", i%700, i), Flags: uint32(i), Marks: 3}
		if i%3 == 0 {
			it.Expires = clock.now().Add(time.Hour)
		}
		token, err := c.SetItem(key, it, Always)
		require.NoError(t, err)
		written[token] = string(key)
	}
	require.EqualValues(t, c.Stats().Evictions, h.len())
	require.Greater(t, h.len(), n/4)
	require.Zero(t, h.twice)
	for token, e := range h.items {
		var i int
		_, err := fmt.Sscanf(string(e.key), "key %d", &i)
		require.NoError(t, err)
		require.Equal(t, written[token], string(e.key))
		require.Equal(t, fmt.Sprintf("%0*d", i%700, i), string(e.it.Value))
		require.EqualValues(t, i, e.it.Flags)
		require.EqualValues(t, 3, e.it.Marks)
		require.Equal(t, i%3 == 0, e.it.Expires.Equal(clock.now().Add(time.Hour)))
		require.False(t, e.it.Stale)
		_, err = c.Get(e.key)
		require.ErrorIs(t, err, shm.ErrNotFound)
	}

	// Stale items are told as such, and expired ones not at all.
	require.NoError(t, c.Invalidate(true)) // which may evict
	before := h.len()
	for token := range h.items {
		delete(written, token)
	}
	require.Len(t, written, int(c.Stats().Items))
	clock.advance(2 * time.Hour)
	freed, err := c.Evict(context.Background(), 1<<30)
	require.NoError(t, err)
	require.Positive(t, freed.Expirations)
	require.Positive(t, freed.Evictions)
	require.EqualValues(t, h.len()-before, freed.Evictions)
	require.Zero(t, h.twice)
	require.Zero(t, c.Stats().Items)
	require.EqualValues(t, n, h.len()+int(c.Stats().Expirations))
	for token, e := range h.items {
		_, late := written[token]
		require.Equal(t, late, e.it.Stale)
		require.False(t, late && !e.it.Expires.IsZero())
	}

	// Nothing is told after stop, and nothing of deletes and flushes before.
	require.NoError(t, c.Set([]byte("a"), []byte("1"), -1))
	require.NoError(t, c.Set([]byte("a"), []byte("2"), -1))
	_, err = c.Delete([]byte("a"))
	require.NoError(t, err)
	require.NoError(t, c.Set([]byte("a"), []byte("3"), -1))
	require.NoError(t, c.Flush(time.Time{}))
	stop()
	stop()
	require.NoError(t, c.Set([]byte("a"), []byte("4"), -1))
	freed, err = c.Evict(context.Background(), 1<<30)
	require.NoError(t, err)
	require.EqualValues(t, 1, freed.Evictions)
	require.EqualValues(t, c.Stats().Evictions-1, h.len())
}

// A handle tells what it has evicted itself, to all its listeners.
func TestOnEvictOfOneHandle(t *testing.T) {
	path := testdir.Memory(t) + "/store"
	var handles [2]*Cache
	var all [2]*heard
	for i := range handles {
		c, err := Open(path, &Options{Bytes: MinBytes})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, c.Close()) })
		handles[i] = c
		all[i], _ = listen(c)
	}
	other, stop := listen(handles[0])
	for i := range 100 {
		require.NoError(t, handles[i%2].Set(fmt.Append(nil, i), []byte("value"), -1))
	}
	freed, err := handles[0].Evict(context.Background(), 1000)
	require.NoError(t, err)
	require.Positive(t, freed.Evictions)
	require.EqualValues(t, freed.Evictions, all[0].len())
	require.Equal(t, all[0].items, other.items)
	require.Zero(t, all[1].len())
	stop()
	_, err = handles[0].Evict(context.Background(), 1000)
	require.NoError(t, err)
	require.EqualValues(t, freed.Evictions, other.len())
	require.Greater(t, all[0].len(), other.len())
}

// Listeners use the cache, and write to it, while other goroutines do so. Transactions that run
// again tell nothing twice.
func TestListenersUseTheCache(t *testing.T) {
	c := open(t, &Options{Bytes: MinBytes})
	h, _ := listen(c)
	var written sync.Map // of writers and listeners: the keys by the tokens
	set := func(key, value []byte) {
		token, err := c.SetItem(key, Item{Value: value}, Always)
		if err != nil {
			panic(err)
		}
		written.Store(token, string(key))
	}
	defer c.OnEvict(func(key []byte, it Item) {
		if _, err := c.Get(key); err != nil && err != shm.ErrNotFound {
			panic(err)
		}
		if it.Token%8 == 0 && len(it.Value) > 50 {
			set(append(key, " again"...), it.Value[:50])
		}
		if it.Token%64 == 1 {
			c.OnEvict(func([]byte, Item) {})()
			if _, err := c.Evict(context.Background(), 1); err != nil {
				panic(err)
			}
		}
	})()
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for i := range few(6000) {
				set(fmt.Append(nil, w, " ", i), make([]byte, 1000))
			}
		})
	}
	writers.Wait()
	require.Zero(t, h.twice)
	require.EqualValues(t, c.Stats().Evictions, h.len())
	n := 0
	written.Range(func(token, key any) bool {
		if n++; h.items[token.(uint64)].key != nil {
			require.Equal(t, key, string(h.items[token.(uint64)].key))
		}
		return true
	})
	require.EqualValues(t, n, int(c.Stats().Items)+h.len())
}
