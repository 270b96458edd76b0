package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/cache"
)

// newRegion makes a region in a store of its own.
func newRegion(t *testing.T) *cache.Cache {
	t.Helper()
	c, err := cache.New(newStore(t), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

// A dump of a region that is loaded has the same items: values, flags, expiry and tokens. So
// has one of the whole store, and then the region is stale where it was.
func TestDumpOfRegion(t *testing.T) {
	c := newRegion(t)
	want := map[string]cache.Item{}
	soft := time.Now().Add(time.Hour)
	for i := range 300 {
		if i == 150 {
			require.NoError(t, c.Invalidate(true))
		}
		key, value := fmt.Append(nil, "key\xff", i), make([]byte, rand.IntN(300))
		for i := range value {
			value[i] = byte(rand.Uint32())
		}
		it := cache.Item{Value: value, Flags: rand.Uint32()}
		if i%3 == 0 {
			it.Expires, it.StaleAfter = time.Now().Add(time.Hour+time.Duration(i)), soft
		}
		_, err := c.SetItem(key, it, cache.Always)
		require.NoError(t, err)
		want[string(key)] = it
	}
	for key := range want {
		it, err := c.Get([]byte(key))
		require.NoError(t, err)
		want[key] = it
	}
	require.NoError(t, c.Store().Set([]byte("beside"), []byte("value")))

	for name, args := range map[string][]string{
		"region and record": {"--map", "cache"},
		"all":               nil,
	} {
		path := filepath.Join(t.TempDir(), "store")
		code, dumped, stderr := runs("", append([]string{"dump", c.Store().Path()}, args...)...)
		require.Equal(t, exitOK, code, stderr)
		if len(args) > 0 {
			code, record, stderr := runs("", "dump", c.Store().Path(), "--map", cache.RegionsMap)
			require.Equal(t, exitOK, code, stderr)
			dumped += record
		}
		code, _, stderr = runs(dumped, "load", path, "--batch", "7")
		require.Equal(t, exitOK, code, stderr)
		s, err := shm.Open(path, nil)
		require.NoError(t, err)
		loaded, err := cache.New(s, nil)
		require.NoError(t, err)
		stale := 0
		for key, it := range want {
			got, err := loaded.Get([]byte(key))
			require.NoError(t, err, "%s: %q", name, key)
			require.Equal(t, it, got, "%s: %q", name, key)
			if got.Stale {
				stale++
			}
		}
		require.Equal(t, 150, stale)
		require.EqualValues(t, len(want), loaded.Stats().Items)
		require.NoError(t, loaded.Close())
		require.NoError(t, s.Close())
	}
}

// cache get and get --items print what the cache has, in JSON and in lines.
func TestItemsInJSON(t *testing.T) {
	c := newRegion(t)
	for key, it := range map[string]cache.Item{
		"plain":   {Value: []byte("text")},
		"flags":   {Value: []byte{}, Flags: 1<<32 - 1},
		"binary":  {Value: []byte{0xff, 0}},
		"\x00key": {Value: []byte("two\nlines"), Expires: time.Now().Add(time.Hour)},
	} {
		_, err := c.SetItem([]byte(key), it, cache.Always)
		require.NoError(t, err)
		it, err = c.Get([]byte(key))
		require.NoError(t, err)
		key64 := base64.StdEncoding.EncodeToString([]byte(key))
		for _, args := range [][]string{
			{"cache", "get", c.Store().Path(), key64, "--key64", "--json"},
			{"get", c.Store().Path(), "--map", "cache", "--items", key64, "--key64", "--json"},
		} {
			code, out, stderr := runs("", args...)
			require.Equal(t, exitOK, code, stderr)
			var got jsonItem
			require.NoError(t, json.Unmarshal([]byte(out), &got))
			require.Equal(t, it.Token, got.Token)
			require.Equal(t, it.Flags, got.Flags)
			require.Equal(t, len(it.Value), got.Bytes)
			require.True(t, it.Expires.Equal(got.Expires))
			value := got.Value64
			if got.Value != nil {
				value = []byte(*got.Value)
			}
			require.Equal(t, it.Value, value)
		}
	}
}

// cache get sends no control characters of a value to a terminal.
func TestCacheGetOnTerminal(t *testing.T) {
	if underRace() {
		t.Skip("it runs another process")
	}
	c := newRegion(t)
	for value, want := range map[string]string{
		"plain":         "plain",
		"two\nlines":    "two\nlines",
		"\x1b]0;title":  `"\x1b]0;title"`,
		"\u202etxt\xff": `"\u202etxt\xff"`,
	} {
		require.NoError(t, c.Set([]byte("k"), []byte(value), 0))
		require.Equal(t, want+"\n", onTerminal(t, "cache", "get", c.Store().Path(), "k"))
		code, out, _ := runs("", "cache", "get", c.Store().Path(), "k")
		require.Equal(t, exitOK, code)
		require.Equal(t, value, out, "in a pipe nothing is changed")
	}
}

// cache top shows the counts of other processes, as rates of the last seconds.
func TestCacheTopRates(t *testing.T) {
	c := newRegion(t)
	require.NoError(t, c.Set([]byte("k"), []byte("v"), 0))
	var out bytes.Buffer
	top := &cacheTop{s: c.Store(), region: "cache", out: &out}
	require.NoError(t, top.look())
	require.Equal(t, cacheRate{}, *top.shown.Rates)
	hits := 0
	for range 3 {
		for range 100 {
			_, err := c.Get([]byte("k"))
			require.NoError(t, err)
			hits++
		}
		c.Stats() // adds them to the sums
		require.NoError(t, top.look())
		require.InDelta(t, hits, top.shown.Rates.Hits*top.shown.Seconds, 1e-6)
		require.Zero(t, top.shown.Rates.Misses)
	}
	// What is older than the span does not count any more, but for the look at its beginning.
	require.Len(t, top.past, 4)
	for i := range top.past {
		top.past[i].Time = top.past[i].Time.Add(-2 * rateSpan)
	}
	require.NoError(t, top.look())
	require.Len(t, top.past, 2)
	require.Zero(t, top.shown.Rates.Hits)
	require.Greater(t, top.shown.Seconds, rateSpan.Seconds())
	require.NoError(t, top.print())
	require.Contains(t, out.String(), "  1 item  0 hits/s  0 misses/s  ")
}

// cache top fills the screen, shows changes, and restores the terminal.
func TestCacheTopInTerminal(t *testing.T) {
	if underRace() {
		t.Skip("it runs another process")
	}
	tm, c := newTerminal(t, 120, 30), newRegion(t)
	require.NoError(t, c.Set([]byte("k"), []byte("v"), 0))
	tm.enters(fmt.Sprintf("shmctl cache top %s --interval 50ms; echo code=$?", c.Store().Path()))
	tm.shows(`^shmctl cache top  [0-9:]+  every 50ms, q quit$`)
	require.Equal(t, "1 0", tm.state(), "the other screen, without a cursor")
	tm.shows(`  region cache  1 item  34 B of data$`)
	tm.shows(`^  hits +0 +0$`)
	var stop atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for !stop.Load() {
			_, _ = c.Get([]byte("k"))
			_, _ = c.Get([]byte("other"))
			c.Stats()
			time.Sleep(time.Millisecond)
		}
	}()
	defer stop.Store(true)
	tm.shows(`^  +EACH SECOND +IN ALL$`)
	tm.shows(`^  hits +[1-9][0-9,]* +[1-9][0-9,]*$`)
	tm.shows(`^  misses +[1-9][0-9,]* +[1-9][0-9,]*$`)
	tm.shows(`^  hit ratio +[45][0-9]\.[0-9] % +[45][0-9]\.[0-9] %$`)
	stop.Store(true)
	<-done
	tm.types("x") // a key without effect
	tm.types("q")
	tm.restored(`^code=0$`)

	tm.enters(fmt.Sprintf("shmctl cache top %s --interval 50ms; echo code=$?", c.Store().Path()))
	tm.shows(`^shmctl cache top  [0-9:]+  every 50ms, q quit$`)
	tm.types("C-c")
	tm.restored(`^code=0$`)
}

// Verbs that only read a region work while others write to it.
func TestCacheVerbsOnLiveRegion(t *testing.T) {
	if underRace() {
		t.Skip("it runs other processes")
	}
	c := newRegion(t)
	var stop atomic.Bool
	done := make(chan error, 1)
	go func() {
		var err error
		for i := 0; err == nil && !stop.Load(); i++ {
			err = c.Set(fmt.Append(nil, "key", i%1000), make([]byte, i%200), time.Hour)
		}
		done <- err
	}()
	require.Eventually(t, func() bool { return c.Stats().Items == 1000 }, 20*time.Second, time.Millisecond)
	for _, args := range [][]string{
		{"cache", "stat", c.Store().Path()},
		{"cache", "get", c.Store().Path(), "key7"},
		{"cache", "ttl", c.Store().Path(), "key7"},
		{"cache", "evict", c.Store().Path(), "1KiB"},
		{"cache", "flush", c.Store().Path(), "--soft"},
		{"cache", "top", c.Store().Path(), "--count", "2", "--interval", "10ms"},
		{"keys", c.Store().Path(), "--map", "cache", "--items"},
	} {
		out, err := exec.Command("shmctl", args...).CombinedOutput()
		require.NoError(t, err, "%v: %s", args, out)
	}
	stop.Store(true)
	require.NoError(t, <-done)
}
