package shm_test

import (
	"encoding/binary"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/shm"
)

func TestEmptyKeysAndValues(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		require.NoError(t, s.Set(nil, nil))
		for _, key := range [][]byte{nil, {}} {
			got, err := other.Get(key)
			require.NoError(t, err)
			require.Empty(t, got)
			require.NotNil(t, got, "an empty value is there: nil would mean absent, in CompareAndSwap for one")
			has, err := other.Has(key)
			require.NoError(t, err)
			require.True(t, has)
		}
		require.Equal(t, 1, s.Len())
		require.NoError(t, s.View(func(sn *shm.Snapshot) error {
			got, err := sn.Get([]byte{})
			require.NoError(t, err)
			require.NotNil(t, got)
			for key, value := range sn.All() {
				require.Empty(t, key)
				require.Empty(t, value)
				require.NotNil(t, value)
			}
			return nil
		}))
		require.NoError(t, s.Update(func(tx *shm.Tx) error {
			got, err := tx.Get(nil)
			require.NoError(t, err)
			require.NotNil(t, got)
			return tx.Set([]byte("k"), nil)
		}))
		got, err := s.Get([]byte("k"))
		require.NoError(t, err)
		require.Empty(t, got)
	})
}

func TestNilMeansAbsent(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		key := []byte("k")
		cas := func(old, new []byte) bool {
			t.Helper()
			swapped, err := other.CompareAndSwap(key, old, new)
			require.NoError(t, err)
			return swapped
		}
		has := func() bool {
			has, err := s.Has(key)
			require.NoError(t, err)
			return has
		}
		start := s.Version()
		require.True(t, cas(nil, nil), "absent stays absent")
		require.False(t, cas([]byte{}, []byte("v")), "an empty value is not an absent one")
		require.Equal(t, start, s.Version(), "neither was a commit")
		require.True(t, cas(nil, []byte{}))
		require.True(t, has())
		require.False(t, cas(nil, []byte("v")))
		require.True(t, cas([]byte{}, []byte("v")))
		require.False(t, cas([]byte("w"), nil))
		require.True(t, cas([]byte("v"), []byte("v")))
		require.True(t, cas([]byte("v"), nil))
		require.False(t, has())

		swap := func(value []byte) ([]byte, bool) {
			t.Helper()
			old, existed, err := s.Swap(key, value)
			require.NoError(t, err)
			return old, existed
		}
		version := s.Version()
		old, existed := swap(nil)
		require.Nil(t, old)
		require.False(t, existed)
		require.Equal(t, version, s.Version())
		old, existed = swap([]byte{})
		require.Nil(t, old)
		require.False(t, existed)
		old, existed = swap([]byte("v"))
		require.NotNil(t, old, "it was empty, not absent")
		require.Empty(t, old)
		require.True(t, existed)
		old, existed = swap(nil)
		require.Equal(t, "v", string(old))
		require.True(t, existed)
		require.False(t, has())
		require.Zero(t, s.Len())
	})
}

// What Get returned is what CompareAndSwap expects.
func TestGetThenCompareAndSwap(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		for _, value := range []string{"v", ""} {
			set(t, s, "k", value)
			old, err := s.Get([]byte("k"))
			require.NoError(t, err)
			swapped, err := other.CompareAndSwap([]byte("k"), old, []byte("new"))
			require.NoError(t, err)
			require.True(t, swapped, "value %q", value)
		}
	})
}

// What the caller gives is copied, and what Get returns is the caller's own.
func TestCopies(t *testing.T) {
	stores(t, func(t *testing.T, s, _ *shm.Store) {
		key, value := []byte("key"), []byte("value")
		require.NoError(t, s.Set(key, value))
		key[0], value[0] = 'X', 'X'
		require.Equal(t, "value", get(t, s, "key"))
		got, err := s.Get([]byte("key"))
		require.NoError(t, err)
		got[0] = 'X'
		require.Equal(t, "value", get(t, s, "key"))
		old, _, err := s.Swap([]byte("key"), []byte("other"))
		require.NoError(t, err)
		set(t, s, "key", "third")
		old[0] = 'X'
		require.Equal(t, "Xalue", string(old))
		require.Equal(t, "third", get(t, s, "key"))
	})
}

func TestAppend(t *testing.T) {
	stores(t, func(t *testing.T, s, _ *shm.Store) {
		set(t, s, "k", "value")
		set(t, s, "empty", "")
		dst := append(make([]byte, 0, 100), "prefix "...)
		got, err := s.Append(dst, []byte("k"))
		require.NoError(t, err)
		require.Equal(t, "prefix value", string(got))
		require.Same(t, &dst[0], &got[0], "it fits")
		require.Equal(t, 100, cap(got))
		tight := []byte("prefix ")[:7:7]
		got, err = s.Append(tight, []byte("k"))
		require.NoError(t, err)
		require.Equal(t, "prefix value", string(got))
		require.Equal(t, "prefix ", string(tight))
		got, err = s.Append(tight, []byte("absent"))
		require.Equal(t, shm.ErrNotFound, err, "bare, so that a miss costs nothing")
		require.Equal(t, tight, got)
		got, err = s.Append(tight, []byte("empty"))
		require.NoError(t, err)
		require.Equal(t, tight, got)
		got, err = s.Append(nil, []byte("k"))
		require.NoError(t, err)
		require.Equal(t, "value", string(got))
	})
}

func TestAllocations(t *testing.T) {
	if raced {
		t.Skip("the race detector allocates")
	}
	s := fileStore(t, nil)
	keys := make([][]byte, 1000)
	for i := range keys {
		keys[i] = fmt.Appendf(nil, "key%013d", i)
		require.NoError(t, s.Set(keys[i], make([]byte, 100)))
	}
	value, dst := make([]byte, 100), make([]byte, 0, 100)
	absent := []byte("absent")
	i := 0
	next := func() []byte { i++; return keys[i%len(keys)] }
	written := func() []byte { binary.LittleEndian.PutUint64(value, uint64(i)); return value } // another one each time
	old := make([]byte, 100)
	for _, c := range []struct {
		name string
		most float64
		op   func()
	}{
		{"Append", 0, func() { _, _ = s.Append(dst, next()) }},
		{"Append absent", 0, func() { _, _ = s.Append(dst, absent) }},
		{"Get", 1, func() { _, _ = s.Get(next()) }},
		{"Get absent", 0, func() { _, _ = s.Get(absent) }},
		{"Has", 0, func() { _, _ = s.Has(next()) }},
		{"Len", 0, func() { _ = s.Len() }},
		{"Version", 0, func() { _ = s.Version() }},
		{"Set", 0, func() { _ = s.Set(next(), written()) }},
		{"Delete", 0, func() { _, _ = s.Delete(absent) }},
		{"CompareAndSwap", 5, func() {
			key := next()
			old, _ = s.Append(old[:0], key)
			_, _ = s.CompareAndSwap(key, old, written())
		}},
		{"Modify", 5, func() { _ = s.Modify(next(), func([]byte, bool) ([]byte, bool) { return written(), true }) }},
		{"Update", 8, func() { _ = s.Update(func(tx *shm.Tx) error { return tx.Set(next(), written()) }) }},
		{"View", 5, func() { _ = s.View(func(*shm.Snapshot) error { return nil }) }},
	} {
		commits := s.Stats().Commits
		n := testing.AllocsPerRun(2000, c.op)
		if writes := s.Stats().Commits - commits; slices.Contains([]string{"Set", "CompareAndSwap", "Modify", "Update"}, c.name) {
			require.EqualValues(t, 2001, writes, c.name)
		}
		t.Logf("%-16s %v", c.name, n)
		require.LessOrEqual(t, n, c.most, c.name)
	}
}

// Writing through a slice that was not copied faults in the writer's process
// and does not reach the store. Modify copies a short value.
func TestWritingToTheStoreFaults(t *testing.T) {
	s := fileStore(t, nil)
	set(t, s, "key", "value")
	stray := func(write func()) {
		t.Helper()
		old := debug.SetPanicOnFault(true)
		defer debug.SetPanicOnFault(old)
		defer func() {
			t.Helper()
			e := recover()
			require.NotNil(t, e, "the write did not fault")
			_, fault := e.(interface{ Addr() uintptr })
			require.True(t, fault, "%v", e)
		}()
		write()
	}
	sn, err := s.Snapshot()
	require.NoError(t, err)
	defer func() { require.NoError(t, sn.Close()) }()
	value, err := sn.Get([]byte("key"))
	require.NoError(t, err)
	stray(func() { value[0] = 'X' })
	for key, value := range sn.All() {
		stray(func() { key[0] = 'X' })
		stray(func() { value[0] = 'X' })
	}
	stray(func() {
		_ = s.GetMany([][]byte{[]byte("key")}, func(_ int, value []byte, _ bool) { value[0] = 'X' })
	})
	long := strings.Repeat("value", 10_000)
	set(t, s, "long", long)
	stray(func() {
		_ = s.Modify([]byte("long"), func(old []byte, _ bool) ([]byte, bool) { old[0] = 'X'; return old, true })
	})
	require.Equal(t, long, get(t, s, "long"))
	require.NoError(t, s.Compute([]byte("key"), func(old []byte, _ bool) ([]byte, shm.Action, error) {
		old[0] = 'X'
		return nil, shm.ActionKeep, nil
	}))
	for _, key := range []string{"key", "own"} {
		stray(func() {
			_ = s.Update(func(tx *shm.Tx) error {
				require.NoError(t, tx.Set([]byte("own"), []byte("value")))
				got, err := tx.Get([]byte(key))
				require.NoError(t, err)
				got[0] = 'X'
				return nil
			})
		})
	}
	require.Equal(t, "value", get(t, s, "key"))
	require.Equal(t, 2, s.Len())
	sound(t, s)
}

func TestTooLarge(t *testing.T) {
	stores(t, func(t *testing.T, s, _ *shm.Store) {
		long := make([]byte, shm.MaxKey+1)
		require.NoError(t, s.Set(long[1:], []byte("v")))
		require.Equal(t, "v", get(t, s, string(long[1:])))
		version := s.Version()
		require.ErrorIs(t, s.Set(long, nil), shm.ErrTooLarge)
		_, _, err := s.Swap(long, []byte{})
		require.ErrorIs(t, err, shm.ErrTooLarge)
		_, err = s.CompareAndSwap(long, nil, []byte{})
		require.ErrorIs(t, err, shm.ErrTooLarge)
		require.ErrorIs(t, s.Update(func(tx *shm.Tx) error { return tx.Set(long, nil) }), shm.ErrTooLarge)
		_, err = s.Get(long)
		require.ErrorIs(t, err, shm.ErrNotFound)
		existed, err := s.Delete(long)
		require.NoError(t, err)
		require.False(t, existed)
		require.Equal(t, version, s.Version())
		has, err := s.Has(long)
		require.NoError(t, err)
		require.False(t, has)
	})
}
