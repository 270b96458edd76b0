package cache

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/shm"
)

func open(t testing.TB, opts *Options) *Cache {
	t.Helper()
	c, err := Open(testdir.Memory(t)+"/store", opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

func TestOptions(t *testing.T) {
	dir := testdir.Memory(t)
	for want, o := range map[string]Options{
		"Options.Bytes is 1000, expected 0 or at least 2097152": {Bytes: 1000},
		"Options.Bytes is -1":                {Bytes: -1},
		"found a region's name of 300 bytes": {Region: strings.Repeat("x", 300)},
		`Options.Region is "cache.regions"`:  {Region: RegionsMap},
	} {
		_, err := Open(dir+"/store", &o)
		require.ErrorContains(t, err, want)
	}
	_, err := os.Stat(dir + "/store")
	require.ErrorIs(t, err, os.ErrNotExist, "a store was made all the same")

	c, err := Open(dir+"/store", nil)
	require.NoError(t, err)
	require.Equal(t, "cache", c.Region())
	require.LessOrEqual(t, c.Store().Stats().MaxSize, int64(64<<20))
	require.NoError(t, c.Close())
	require.NoError(t, c.Close())
	_, err = c.Get([]byte("key"))
	require.ErrorIs(t, err, shm.ErrClosed)
	require.ErrorIs(t, c.Set([]byte("key"), nil, 0), shm.ErrClosed)
	require.Zero(t, c.Stats().Items)
}

// A cache of New lives in a store beside other maps, and another region beside it.
func TestRegions(t *testing.T) {
	s, err := shm.Open(testdir.Memory(t)+"/store", nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	require.NoError(t, s.Set([]byte("key"), []byte("unnamed")))
	var all []*Cache
	for _, region := range []string{"a", "b"} {
		c, err := New(s, &Options{Region: region})
		require.NoError(t, err)
		require.NoError(t, c.Set([]byte("key"), []byte(region), 0))
		all = append(all, c)
	}
	require.NoError(t, all[0].Invalidate(true))
	it, err := all[1].Get([]byte("key"))
	require.NoError(t, err)
	require.Equal(t, "b", string(it.Value))
	require.False(t, it.Stale)
	require.NoError(t, all[0].Flush(time.Time{}))
	_, err = all[0].Get([]byte("key"))
	require.Equal(t, shm.ErrNotFound, err)
	_, err = all[1].Get([]byte("key"))
	require.NoError(t, err)
	for _, c := range all {
		require.NoError(t, c.Close())
	}
	_, err = all[1].Get([]byte("key"))
	require.NoError(t, err, "the store is open")
	v, err := s.Get([]byte("key"))
	require.NoError(t, err)
	require.Equal(t, "unnamed", string(v))
}

// Entries of the map that are no items are damage, and no call takes them for items.
func TestDamagedItems(t *testing.T) {
	c := open(t, nil)
	key := []byte("key")
	for _, b := range [][]byte{{}, make([]byte, Overhead-1), make([]byte, Overhead), tail{}.appendTo([]byte("value"))} {
		require.NoError(t, c.items.Set(key, b))
		_, err := c.Get(key)
		require.ErrorIs(t, err, shm.ErrCorrupt, "%q", b)
		_, err = c.Increment(key, 1)
		require.ErrorIs(t, err, shm.ErrCorrupt)
		require.ErrorIs(t, c.Add(key, nil, 0), shm.ErrCorrupt)
		require.ErrorIs(t, c.Touch(key, 0), shm.ErrCorrupt)
		require.ErrorIs(t, c.GetMany([][]byte{key}, func(_ int, _ Item, ok bool) { require.False(t, ok) }), shm.ErrCorrupt)
	}
	require.NoError(t, c.Set(key, []byte("new"), 0))
	require.NoError(t, c.regions.Set(c.name, []byte("short")))
	_, err := c.Get(key)
	require.ErrorIs(t, err, shm.ErrCorrupt)
	require.ErrorContains(t, c.Invalidate(true), "found a record of a region of 5 bytes, expected 16")
}

// Errors say what was being done, what was found and what was expected.
func TestErrors(t *testing.T) {
	c := open(t, &Options{Bytes: 8 << 20})
	key := []byte("key")
	token, err := c.SetItem(key, Item{Value: []byte("12x")}, Always)
	require.NoError(t, err)
	err = c.CompareAndSwap(key, token+1, nil, 0)
	require.ErrorIs(t, err, ErrToken)
	require.ErrorContains(t, err, fmt.Sprintf(`setting "key" in region "cache": item has another token: found %d, expected %d`, token, token+1))
	_, err = c.Increment(key, 1)
	require.ErrorIs(t, err, ErrNotNumber)
	require.ErrorContains(t, err, `found "12x"`)
	require.ErrorIs(t, c.Set(make([]byte, shm.MaxKey+1), nil, 0), shm.ErrTooLarge)
	require.ErrorIs(t, c.Set(key, make([]byte, 16<<20), 0), shm.ErrTooLarge)
	require.ErrorContains(t, c.Flush(time.Date(3000, 1, 1, 0, 0, 0, 0, time.UTC)), "found the time 3000")
	_, err = c.SetItem(key, Item{}, 9)
	require.ErrorContains(t, err, "found the condition 9")
	require.NoError(t, c.Replace(key, bytes.Repeat([]byte("x"), 1000), 0))
	it, err := c.Get(key)
	require.NoError(t, err)
	require.Len(t, it.Value, 1000)
}

// A read-only handle reads, and finds no items whose flush is due, though it cannot flush.
func TestReadOnly(t *testing.T) {
	clock := newClock()
	c := open(t, &Options{Now: clock.now})
	key := []byte("key")
	require.NoError(t, c.Set(key, []byte("value"), 0))
	require.NoError(t, c.Flush(clock.now().Add(time.Second)))
	s, err := shm.Open(c.Store().Path(), &shm.Options{ReadOnly: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	r, err := New(s, &Options{Now: clock.now})
	require.NoError(t, err)
	defer func() { require.NoError(t, r.Close()) }()
	it, err := r.Get(key)
	require.NoError(t, err)
	require.Equal(t, "value", string(it.Value))
	require.ErrorIs(t, r.Set(key, nil, 0), shm.ErrReadOnly)
	clock.advance(time.Second)
	_, err = r.Get(key)
	require.Equal(t, shm.ErrNotFound, err)
	_, err = r.Append(nil, key)
	require.Equal(t, shm.ErrNotFound, err)
	require.NoError(t, r.GetMany([][]byte{key}, func(_ int, _ Item, ok bool) { require.False(t, ok) }))
	_, err = c.Get(key)
	require.Equal(t, shm.ErrNotFound, err)
}

// Hits and misses are counted, for the handle and for all handles, also for those that are
// closed.
func TestStats(t *testing.T) {
	c := open(t, nil)
	other, err := Open(c.Store().Path(), nil)
	require.NoError(t, err)
	for i := range 10 {
		require.NoError(t, c.Set(fmt.Append(nil, i), []byte("value"), 0))
	}
	for i := range 30 {
		_, _ = other.Get(fmt.Append(nil, i))
		_, _ = c.Append(nil, fmt.Append(nil, i%5))
	}
	require.NoError(t, other.GetMany([][]byte{[]byte("1"), []byte("none")}, func(int, Item, bool) {}))
	require.Equal(t, Counts{Hits: 11, Misses: 21}, other.Stats().Counts)
	require.NoError(t, other.Close())
	st := c.Stats()
	require.Equal(t, Counts{Hits: 30}, st.Counts)
	require.Equal(t, Counts{Hits: 41, Misses: 21}, st.All)
	require.EqualValues(t, 10, st.Items)
	require.EqualValues(t, 10*(1+5+Overhead), st.DataBytes)
	require.Equal(t, Counts{Hits: 20}, st.Counts.Sub(Counts{Hits: 10}))
}

// A reopened cache has its items.
func TestWarmAfterRestart(t *testing.T) {
	path := testdir.Memory(t) + "/store"
	for round := range 3 {
		c, err := Open(path, nil)
		require.NoError(t, err)
		for i := range round {
			it, err := c.Get(fmt.Append(nil, i))
			require.NoError(t, err)
			require.Equal(t, fmt.Sprint("value ", i), string(it.Value))
		}
		require.NoError(t, c.Set(fmt.Append(nil, round), fmt.Append(nil, "value ", round), time.Hour))
		require.NoError(t, c.Close())
	}
}

// A backup has the items with their tokens, and a store that is rewritten has them too. Neither
// has the sketch, which the next handle makes.
func TestCopies(t *testing.T) {
	dir := testdir.Memory(t)
	path := dir + "/store"
	c, err := Open(path, nil)
	require.NoError(t, err)
	key := []byte("key")
	token, err := c.SetItem(key, Item{Value: []byte("value"), Flags: 7}, Always)
	require.NoError(t, err)
	require.NoError(t, c.Store().Backup(t.Context(), dir+"/backup"))
	require.NoError(t, c.Close())
	require.NoError(t, shm.Rewrite(t.Context(), path, nil))
	_, err = os.Stat(path + "/" + sketchFile)
	require.ErrorIs(t, err, os.ErrNotExist)
	for _, from := range []string{path, dir + "/backup"} {
		s, err := shm.Open(from, &shm.Options{ReadOnly: from != path})
		require.NoError(t, err)
		c, err := New(s, nil)
		require.NoError(t, err)
		it, err := c.Get(key)
		require.NoError(t, err)
		require.Equal(t, Item{Value: []byte("value"), Flags: 7, Token: token}, it)
		require.NoError(t, c.Close())
		require.NoError(t, s.Close())
	}
	_, err = os.Stat(dir + "/backup/" + sketchFile)
	require.ErrorIs(t, err, os.ErrNotExist)
}

// Clients of memcached cannot all send a number of 64 bits, or of 20 digits.
func TestTokensHave63Bits(t *testing.T) {
	for range 1000 {
		token := newToken()
		require.NotZero(t, token)
		require.Less(t, token, uint64(1)<<63)
	}
}
