package clients_test

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
	"github.com/stretchr/testify/require"
)

// TestGomemcache uses gomemcache, which speaks the text protocol.
func TestGomemcache(t *testing.T) {
	s := start(t)
	for name, address := range map[string]string{"port": net.JoinHostPort(s.host, s.port), "socket": s.socket} {
		t.Run(name, func(t *testing.T) {
			c := memcache.New(address)
			c.Timeout = 30 * time.Second
			defer func() { require.NoError(t, c.Close()) }()
			require.NoError(t, c.FlushAll())
			require.NoError(t, c.Ping())
			t.Run("store", func(t *testing.T) { gomemcacheStores(t, c) })
			t.Run("count", func(t *testing.T) { gomemcacheCounts(t, c) })
			t.Run("expire", func(t *testing.T) { gomemcacheExpires(t, c) })
			t.Run("values", func(t *testing.T) { gomemcacheValues(t, c) })
			t.Run("many", func(t *testing.T) { gomemcacheMany(t, c) })
			require.NoError(t, c.DeleteAll())
			_, err := c.Get("a")
			require.ErrorIs(t, err, memcache.ErrCacheMiss)
		})
	}
}

func value(t *testing.T, c *memcache.Client, key string) string {
	it, err := c.Get(key)
	require.NoError(t, err)
	return string(it.Value)
}

func gomemcacheStores(t *testing.T, c *memcache.Client) {
	_, err := c.Get("a")
	require.ErrorIs(t, err, memcache.ErrCacheMiss)
	require.NoError(t, c.Set(&memcache.Item{Key: "a", Value: []byte("1"), Flags: 0xffffffff}))
	it, err := c.Get("a")
	require.NoError(t, err)
	require.Equal(t, "1", string(it.Value))
	require.Equal(t, uint32(0xffffffff), it.Flags)
	require.ErrorIs(t, c.Add(&memcache.Item{Key: "a", Value: []byte("2")}), memcache.ErrNotStored)
	require.NoError(t, c.Add(&memcache.Item{Key: "b", Value: []byte("2")}))
	require.ErrorIs(t, c.Replace(&memcache.Item{Key: "c", Value: []byte("3")}), memcache.ErrNotStored)
	require.NoError(t, c.Replace(&memcache.Item{Key: "b", Value: []byte("3")}))
	require.NoError(t, c.Append(&memcache.Item{Key: "b", Value: []byte("4")}))
	require.NoError(t, c.Prepend(&memcache.Item{Key: "b", Value: []byte("2")}))
	require.Equal(t, "234", value(t, c, "b"))
	require.ErrorIs(t, c.Append(&memcache.Item{Key: "none", Value: []byte("4")}), memcache.ErrNotStored)

	it.Value = []byte("new")
	require.NoError(t, c.CompareAndSwap(it))
	require.ErrorIs(t, c.CompareAndSwap(it), memcache.ErrCASConflict)
	require.Equal(t, "new", value(t, c, "a"))
	require.NoError(t, c.Delete("a"))
	require.ErrorIs(t, c.Delete("a"), memcache.ErrCacheMiss)
	err = c.CompareAndSwap(it)
	require.True(t, err == memcache.ErrCacheMiss || err == memcache.ErrNotStored, "%v", err)
}

func gomemcacheCounts(t *testing.T, c *memcache.Client) {
	_, err := c.Increment("n", 1)
	require.ErrorIs(t, err, memcache.ErrCacheMiss)
	require.NoError(t, c.Set(&memcache.Item{Key: "n", Value: []byte("18446744073709551615")}))
	n, err := c.Increment("n", 11)
	require.NoError(t, err)
	require.Equal(t, uint64(10), n)
	n, err = c.Decrement("n", 100)
	require.NoError(t, err)
	require.Zero(t, n)
	require.NoError(t, c.Set(&memcache.Item{Key: "n", Value: []byte("text")}))
	_, err = c.Increment("n", 1)
	require.ErrorContains(t, err, "non-numeric")
}

func gomemcacheExpires(t *testing.T, c *memcache.Client) {
	require.NoError(t, c.Set(&memcache.Item{Key: "past", Value: []byte("1"), Expiration: -1}))
	_, err := c.Get("past")
	require.ErrorIs(t, err, memcache.ErrCacheMiss)
	require.NoError(t, c.Set(&memcache.Item{Key: "short", Value: []byte("1"), Expiration: 1}))
	require.NoError(t, c.Set(&memcache.Item{Key: "touched", Value: []byte("1")}))
	require.NoError(t, c.Touch("touched", 1))
	require.ErrorIs(t, c.Touch("none", 1), memcache.ErrCacheMiss)
	for _, key := range []string{"short", "touched"} {
		require.Eventually(t, func() bool {
			_, err := c.Get(key)
			return err == memcache.ErrCacheMiss
		}, 30*time.Second, 50*time.Millisecond, key)
	}
}

func gomemcacheValues(t *testing.T, c *memcache.Client) {
	every := make([]byte, 1024)
	for i := range every {
		every[i] = byte(i)
	}
	for name, v := range map[string][]byte{"empty": {}, "every-byte": every, "large": bytes.Repeat([]byte("0123456789abcdef"), 60_000)} {
		require.NoError(t, c.Set(&memcache.Item{Key: name, Value: v}), name)
		require.True(t, string(v) == value(t, c, name), name)
	}
	require.ErrorContains(t, c.Set(&memcache.Item{Key: "large", Value: make([]byte, 1<<20)}), "object too large for cache")
	_, err := c.Get("large")
	require.ErrorIs(t, err, memcache.ErrCacheMiss)
	require.NoError(t, c.Set(&memcache.Item{Key: "large", Value: []byte("1")}), "the connection is in step")
	require.Equal(t, "1", value(t, c, "large"))
	require.NoError(t, c.Set(&memcache.Item{Key: strings.Repeat("k", 250), Value: []byte("1")}))
	require.ErrorIs(t, c.Set(&memcache.Item{Key: strings.Repeat("k", 251), Value: []byte("1")}), memcache.ErrMalformedKey)
}

func gomemcacheMany(t *testing.T, c *memcache.Client) {
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			var keys []string
			for i := range 100 {
				key := fmt.Sprintf("%d-%d", g, i)
				if err := c.Set(&memcache.Item{Key: key, Value: []byte(key)}); err != nil {
					t.Error(err)
				}
				keys = append(keys, key, "none-"+key)
			}
			found, err := c.GetMulti(keys)
			if err != nil || len(found) != 100 {
				t.Errorf("found %d items and error %v, expected 100", len(found), err)
			}
			for key, it := range found {
				if string(it.Value) != key {
					t.Errorf("found %q under %q", it.Value, key)
				}
			}
		})
	}
	wg.Wait()
}
