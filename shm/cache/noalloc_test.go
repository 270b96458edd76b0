//go:build !race

package cache

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/codec"
)

// Hits and misses of Append and AppendItem do not allocate, also beside a writer, when each
// read finds another version of the store.
func TestReadsDoNotAllocate(t *testing.T) {
	c, err := Open(testdir.Memory(t)+"/store", &Options{Bytes: 8 << 20})
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	key, none, buf := []byte("key"), []byte("none"), make([]byte, 0, 100+Overhead)
	require.NoError(t, c.Set(key, make([]byte, 100), time.Hour))
	require.NoError(t, c.Invalidate(true)) // so that the region has a record
	for name, read := range map[string]func() error{
		"Append":     func() error { _, err := c.Append(buf, key); return err },
		"AppendItem": func() error { _, err := c.AppendItem(buf, key); return err },
	} {
		require.NoError(t, read())
		require.Zero(t, testing.AllocsPerRun(1000, func() { _ = read() }), name)
	}
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		if _, err := c.Append(buf, none); err != shm.ErrNotFound {
			t.Fatal(err)
		}
	}))
	plain := c.Store().Map("plain")
	value := make([]byte, 8)
	set := func() {
		value[0]++
		_ = plain.Set(key, value)
	}
	alone := testing.AllocsPerRun(1000, set)
	require.Equal(t, alone, testing.AllocsPerRun(1000, func() {
		set()
		_, _ = c.Append(buf, key)
	}))
}

// A write of a small item allocates nothing either, once its buffer is there.
func TestWritesDoNotAllocate(t *testing.T) {
	c, err := Open(testdir.Memory(t)+"/store", &Options{Bytes: 8 << 20})
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	key, value := []byte("key"), make([]byte, 100)
	require.NoError(t, c.Set(key, value, time.Hour))
	plain := c.Store().Map("plain")
	n := byte(0)
	alone := testing.AllocsPerRun(1000, func() {
		n++
		value[0] = n
		_ = plain.Set(key, value)
	})
	fn := func(it Item, _ bool) (Item, shm.Action, error) {
		it.Flags++
		return it, shm.ActionSet, nil
	}
	number, room := []byte("number"), make([]byte, 0, 200)
	require.NoError(t, c.Set(number, []byte("1"), -1))
	for name, write := range map[string]func() error{
		"Set":            func() error { return c.Set(key, value, time.Hour) },
		"Replace":        func() error { return c.Replace(key, value, time.Hour) },
		"Compute":        func() error { _, err := c.Compute(key, fn); return err },
		"Increment":      func() error { _, err := c.Increment(number, 1); return err },
		"AppendValue":    func() error { _, err := c.AppendValue(key, nil); return err },
		"Touch":          func() error { n++; return c.Touch(key, time.Hour+time.Duration(n)) },
		"AppendAndTouch": func() error { _, err := c.AppendAndTouch(room, key, time.Time{}); return err },
	} {
		require.NoError(t, write(), name)
		require.LessOrEqual(t, testing.AllocsPerRun(1000, func() { _ = write() }), alone, name)
	}
}

// A view of numbers allocates nothing but what the cache does.
func TestTypedDoesNotAllocate(t *testing.T) {
	numbers := NewTyped(open(t, nil), codec.Int[int64]{}, codec.Int[uint32]{})
	require.NoError(t, numbers.Set(1, 2, time.Hour))
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		if n, err := numbers.Get(1); n != 2 || err != nil {
			t.Fatal(n, err)
		}
	}))
}
