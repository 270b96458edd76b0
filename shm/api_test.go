package shm_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/shm"
)

// raced tells whether the race detector is on.
var raced = func() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}()

// fileStore opens a new store in files.
func fileStore(t testing.TB, opts *shm.Options) *shm.Store {
	t.Helper()
	s, err := shm.Open(t.TempDir()+"/store", opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// heapStores attaches n handles to a new store on the Go heap.
func heapStores(t testing.TB, maxSize uint64, n int) []*shm.Store {
	t.Helper()
	h, err := alloc.NewHeap(maxSize)
	require.NoError(t, err)
	all := make([]*shm.Store, n)
	for i := range all {
		all[i], _, err = shm.AttachHeap(h, "heap")
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, all[i].Close()) })
	}
	return all
}

// stores runs a story on the heap, where the race detector sees it, and in
// files. Both handles are of one store.
func stores(t *testing.T, story func(t *testing.T, s, other *shm.Store)) {
	t.Run("heap", func(t *testing.T) {
		all := heapStores(t, 16<<20, 2)
		story(t, all[0], all[1])
		sound(t, all[1])
	})
	t.Run("files", func(t *testing.T) {
		s := fileStore(t, &shm.Options{MaxSize: 16 << 20})
		other, err := shm.Open(s.Path(), nil)
		require.NoError(t, err)
		defer func() { require.NoError(t, other.Close()) }()
		story(t, s, other)
		sound(t, other)
	})
}

// sound ends a story: the ledger adds up.
func sound(t testing.TB, s *shm.Store) *shm.Report {
	t.Helper()
	rep, err := s.Check(context.Background(), nil)
	require.NoError(t, err)
	require.Empty(t, rep.Problems)
	require.Zero(t, rep.LeakedBytes)
	require.Zero(t, rep.InFlightBytes)
	require.Equal(t, int64(s.Len()), rep.Entries)
	return rep
}

func set(t testing.TB, s *shm.Store, key, value string) {
	t.Helper()
	require.NoError(t, s.Set([]byte(key), []byte(value)))
}

func get(t testing.TB, s *shm.Store, key string) string {
	t.Helper()
	got, err := s.Get([]byte(key))
	require.NoError(t, err)
	return string(got)
}

func numbered(i int) []byte { return fmt.Appendf(nil, "key %d", i) }

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

func TestModify(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		key := []byte("k")
		version := s.Version()
		require.NoError(t, s.Modify(key, func(old []byte, exists bool) ([]byte, bool) {
			require.False(t, exists)
			require.Empty(t, old)
			return []byte("ignored"), false
		}))
		require.Equal(t, version, s.Version(), "nothing was there, nothing is")
		require.NoError(t, s.Modify(key, func([]byte, bool) ([]byte, bool) { return nil, true }))
		has, err := s.Has(key)
		require.NoError(t, err)
		require.True(t, has, "keep with nil is an empty value")
		require.NoError(t, s.Modify(key, func(old []byte, exists bool) ([]byte, bool) {
			require.True(t, exists)
			return append(bytes.Clone(old), "new"...), true
		}))
		require.Equal(t, "new", get(t, other, "k"))
		require.NoError(t, s.Modify(key, func(old []byte, exists bool) ([]byte, bool) {
			return old, true // the store's own memory as the new value
		}))
		require.Equal(t, "new", get(t, other, "k"))
		require.NoError(t, s.Modify(key, func([]byte, bool) ([]byte, bool) { return []byte("x"), false }))
		has, err = s.Has(key)
		require.NoError(t, err)
		require.False(t, has)
	})
}

func TestConflictRunsFnAgain(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		set(t, s, "k", "0")
		runs := 0
		require.NoError(t, s.Modify([]byte("k"), func(old []byte, exists bool) ([]byte, bool) {
			require.True(t, exists)
			require.Equal(t, fmt.Sprint(runs), string(old))
			was := string(old)
			if runs++; runs <= 3 {
				set(t, other, "k", fmt.Sprint(runs))
			}
			require.Equal(t, was, string(old), "old changed under fn")
			return append(bytes.Clone(old), '!'), true
		}))
		require.Equal(t, 4, runs)
		require.Equal(t, "3!", get(t, s, "k"))

		runs = 0
		require.NoError(t, s.Update(func(tx *shm.Tx) error {
			require.NoError(t, tx.Set([]byte("mine"), fmt.Append(nil, runs)))
			got, err := tx.Get([]byte("k"))
			require.NoError(t, err)
			if runs++; runs <= 5 {
				set(t, other, "k", fmt.Sprint("other", runs))
				set(t, other, "also", "another key")
			}
			again, err := tx.Get([]byte("k"))
			require.NoError(t, err)
			require.Equal(t, string(got), string(again), "a transaction sees one version")
			_, err = tx.Get([]byte("also"))
			if runs == 1 {
				require.ErrorIs(t, err, shm.ErrNotFound)
			}
			return tx.Set([]byte("k"), append(bytes.Clone(got), '!'))
		}))
		require.Equal(t, 6, runs)
		require.Equal(t, "other5!", get(t, s, "k"))
		require.Equal(t, "5", get(t, s, "mine"))
		require.Equal(t, 3, s.Len())
	})
}

// A transaction that only reads does not conflict.
func TestUpdateWithoutWrites(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		set(t, s, "k", "v")
		version := s.Version()
		runs := 0
		require.NoError(t, s.Update(func(tx *shm.Tx) error {
			runs++
			got, err := tx.Get([]byte("k"))
			require.NoError(t, err)
			set(t, other, "other", "x")
			require.Equal(t, "v", string(got))
			existed, err := tx.Delete([]byte("absent"))
			require.NoError(t, err)
			require.False(t, existed)
			return nil
		}))
		require.Equal(t, 1, runs)
		require.Equal(t, version+1, s.Version(), "the other's commit only")
		_, err := s.Delete([]byte("absent"))
		require.NoError(t, err)
		require.Equal(t, version+1, s.Version())
	})
}

func TestErrorInUpdateChangesNothing(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		set(t, s, "k", "v")
		version, live := s.Version(), s.Stats().LiveBytes
		mine := errors.New("mine")
		err := s.Update(func(tx *shm.Tx) error {
			for i := range 1000 {
				require.NoError(t, tx.Set(numbered(i), make([]byte, i)))
			}
			require.NoError(t, tx.Set([]byte("large"), make([]byte, 100<<10)))
			existed, err := tx.Delete([]byte("k"))
			require.NoError(t, err)
			require.True(t, existed)
			require.Equal(t, 1001, tx.Len())
			return mine
		})
		require.Equal(t, mine, err, "fn's own error, as it is")
		require.Equal(t, version, other.Version())
		require.Equal(t, live, other.Stats().LiveBytes)
		require.Equal(t, 1, other.Len())
		require.Equal(t, "v", get(t, other, "k"))
		sound(t, s)
	})
}

func TestPanicInFn(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		set(t, s, "k", "v")
		version := s.Version()
		for range 50 {
			require.PanicsWithValue(t, "boom", func() {
				_ = s.Update(func(tx *shm.Tx) error {
					require.NoError(t, tx.Set([]byte("a"), make([]byte, 50<<10)))
					require.NoError(t, tx.Set([]byte("k"), nil))
					for range tx.All() {
						panic("boom")
					}
					return nil
				})
			})
			require.PanicsWithValue(t, "boom", func() {
				_ = s.Modify([]byte("k"), func([]byte, bool) ([]byte, bool) { panic("boom") })
			})
			require.PanicsWithValue(t, "boom", func() {
				_ = s.View(func(sn *shm.Snapshot) error { panic("boom") })
			})
			require.PanicsWithValue(t, "boom", func() {
				_ = s.GetMany([][]byte{[]byte("k")}, func(int, []byte, bool) { panic("boom") })
			})
			done := make(chan struct{})
			go func() { // as t.FailNow does
				defer close(done)
				_ = s.Update(func(tx *shm.Tx) error {
					require.NoError(t, tx.Set([]byte("a"), nil))
					runtime.Goexit()
					return nil
				})
			}()
			<-done
		}
		require.Equal(t, version, s.Version())
		require.Equal(t, "v", get(t, other, "k"))
		sound(t, s)
		procs, err := other.Processes()
		require.NoError(t, err)
		for _, p := range procs {
			require.Empty(t, p.Pins, "a pin was left behind")
			require.LessOrEqual(t, p.Writers, 2)
		}
		set(t, s, "k", "w")
		require.Equal(t, "w", get(t, other, "k"))
	})
}

func TestTxAfterReturn(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		set(t, s, "k", "v")
		var leaked *shm.Tx
		use := func() {
			t.Helper()
			_, err := leaked.Get([]byte("k"))
			require.ErrorIs(t, err, shm.ErrClosed)
			_, err = leaked.Has([]byte("k"))
			require.ErrorIs(t, err, shm.ErrClosed)
			require.ErrorIs(t, leaked.Set([]byte("k"), nil), shm.ErrClosed)
			_, err = leaked.Delete([]byte("k"))
			require.ErrorIs(t, err, shm.ErrClosed)
			require.Zero(t, leaked.Len())
			for range leaked.All() {
				require.Fail(t, "All after the end")
			}
		}
		require.NoError(t, s.Update(func(tx *shm.Tx) error { leaked = tx; return nil }))
		use()
		require.Error(t, s.Update(func(tx *shm.Tx) error { leaked = tx; return errGiveUp }))
		use()
		require.Panics(t, func() { _ = s.Update(func(tx *shm.Tx) error { leaked = tx; panic(1) }) })
		use()
		// The transaction of a run that lost is not that of the next run.
		runs := 0
		require.NoError(t, s.Update(func(tx *shm.Tx) error {
			if runs++; runs == 1 {
				leaked = tx
				set(t, other, "x", "y")
			} else {
				use()
			}
			return tx.Set([]byte("k"), []byte("w"))
		}))
		require.Equal(t, 2, runs)
		require.Equal(t, "w", get(t, s, "k"))
	})
}

// What a transaction set that then was given up, in any way, is not in the next one,
// though the next one uses the same memory.
func TestTransactionGivenUp(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		for i, giveUp := range []func() error{
			func() error { return errGiveUp },
			func() error { panic(errGiveUp) },
		} {
			func() {
				defer func() {
					if e := recover(); e != nil {
						require.Equal(t, errGiveUp, e)
					}
				}()
				require.Equal(t, errGiveUp, s.Update(func(tx *shm.Tx) error {
					for j := range 3 {
						require.NoError(t, tx.Set(fmt.Append(nil, "given up ", j), []byte("x")))
					}
					return giveUp()
				}))
			}()
			require.NoError(t, s.Update(func(tx *shm.Tx) error {
				for j := range 3 {
					has, err := tx.Has(fmt.Append(nil, "given up ", j))
					require.NoError(t, err)
					require.False(t, has)
				}
				require.NoError(t, tx.Set(fmt.Append(nil, "kept ", i), []byte("y")))
				require.Equal(t, i+1, tx.Len())
				return nil
			}))
			require.Equal(t, i+1, other.Len())
			sound(t, other)
		}
	})
}

func TestTxSeesItsOwnWrites(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		for i := range 100 {
			set(t, s, string(numbered(i)), "old")
		}
		require.NoError(t, s.Update(func(tx *shm.Tx) error {
			for i := range 50 {
				require.NoError(t, tx.Set(numbered(i), []byte("new")))
			}
			for i := 100; i < 120; i++ {
				require.NoError(t, tx.Set(numbered(i), []byte("added")))
			}
			for i := 90; i < 100; i++ {
				existed, err := tx.Delete(numbered(i))
				require.NoError(t, err)
				require.True(t, existed)
				existed, err = tx.Delete(numbered(i))
				require.NoError(t, err)
				require.False(t, existed)
			}
			require.Equal(t, 110, tx.Len())
			count := map[string]int{}
			for _, value := range tx.All() {
				count[string(value)]++
			}
			require.Equal(t, map[string]int{"new": 50, "old": 40, "added": 20}, count)
			has, err := tx.Has(numbered(95))
			require.NoError(t, err)
			require.False(t, has)
			require.Equal(t, 100, other.Len(), "others see nothing of it yet")
			return nil
		}))
		require.Equal(t, 110, other.Len())
	})
}

func TestTxAllWhileWriting(t *testing.T) {
	stores(t, func(t *testing.T, s, _ *shm.Store) {
		for i := range 300 {
			set(t, s, string(numbered(i)), "old")
		}
		require.NoError(t, s.Update(func(tx *shm.Tx) error {
			require.NoError(t, tx.Set([]byte("own"), []byte("old")))
			seen := map[string]bool{}
			next := 1000
			for key, value := range tx.All() {
				require.Equal(t, "old", string(value))
				require.False(t, seen[string(key)])
				seen[string(key)] = true
				require.NoError(t, tx.Set(key, []byte("new")))
				for range 3 {
					next++
					require.NoError(t, tx.Set(numbered(next), []byte("new")))
				}
				_, err := tx.Delete(numbered(len(seen)))
				require.NoError(t, err)
				require.Equal(t, "old", string(value), "stays valid after it was overwritten")
			}
			require.Len(t, seen, 301, "the state at the beginning of the iteration")

			// One iteration within another, which begins later.
			outer := 0
			for range tx.All() {
				if outer++; outer > 5 {
					break
				}
				require.NoError(t, tx.Set(fmt.Append(nil, "during ", outer), []byte("new")))
				inner := 0
				for range tx.All() {
					inner++
				}
				require.Equal(t, tx.Len(), inner)
			}
			return nil
		}))
		sn, err := s.Snapshot()
		require.NoError(t, err)
		defer func() { require.NoError(t, sn.Close()) }()
		n := 0
		for _, value := range sn.All() {
			require.Equal(t, "new", string(value))
			n++
		}
		require.Equal(t, s.Len(), n)
	})
}

// Slices from Tx.Get stay as they are until fn returns, whatever the
// transaction does with the key.
func TestTxGetStaysValid(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		set(t, s, "published", "published value")
		require.Equal(t, errGiveUp, s.Update(func(tx *shm.Tx) error {
			require.NoError(t, tx.Set([]byte("own"), []byte("own value")))
			large := bytes.Repeat([]byte{7}, 100<<10)
			require.NoError(t, tx.Set([]byte("large"), large))
			published, err := tx.Get([]byte("published"))
			require.NoError(t, err)
			own, err := tx.Get([]byte("own"))
			require.NoError(t, err)
			run, err := tx.Get([]byte("large"))
			require.NoError(t, err)
			for i := range 200 {
				for _, key := range []string{"published", "own", "large"} {
					if i%3 == 2 {
						_, err := tx.Delete([]byte(key))
						require.NoError(t, err)
					} else {
						require.NoError(t, tx.Set([]byte(key), bytes.Repeat([]byte{byte(i)}, 9+i%2*6)))
					}
				}
				if i%20 == 0 {
					require.NoError(t, tx.Set([]byte("large"), bytes.Repeat([]byte{byte(i)}, 100<<10)))
				}
			}
			for i := range 100 {
				require.NoError(t, other.Set(numbered(i%10), []byte("something else")))
			}
			require.Equal(t, "published value", string(published))
			require.Equal(t, "own value", string(own))
			require.True(t, bytes.Equal(large, run))
			return errGiveUp // the other's commits would let it run again
		}))
	})
}

// A snapshot's slices stay as they are while the store is overwritten many
// times over.
func TestSnapshotStays(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		value := func(i, round int) []byte {
			return bytes.Repeat(fmt.Appendf(nil, "%d/%d ", i, round), 1+i*i%300)
		}
		const n = 200
		for i := range n {
			require.NoError(t, s.Set(numbered(i), value(i, 0)))
		}
		sn, err := s.Snapshot()
		require.NoError(t, err)
		var values [n][]byte
		for i := range n {
			values[i], err = sn.Get(numbered(i))
			require.NoError(t, err)
			require.Equal(t, len(values[i]), cap(values[i]), "appending must not reach what lies behind")
		}
		file := s.Stats().FileBytes
		for round := range 60 {
			for i := range n {
				require.NoError(t, []*shm.Store{s, other}[round%2].Set(numbered(i), value(i, round+1)))
			}
		}
		for i := range n {
			require.Equal(t, value(i, 0), values[i])
			got, err := sn.Get(numbered(i))
			require.NoError(t, err)
			require.Equal(t, value(i, 0), got)
		}
		require.Equal(t, n, sn.Len())
		require.Less(t, s.Stats().FileBytes, 4*file+1<<20, "the snapshot keeps only what it sees")
		require.NoError(t, sn.Close())
		require.NoError(t, sn.Close())
		_, err = sn.Get(numbered(0))
		require.ErrorIs(t, err, shm.ErrClosed)
		_, err = sn.Has(numbered(0))
		require.ErrorIs(t, err, shm.ErrClosed)
		require.Zero(t, sn.Len())
		for range sn.All() {
			require.Fail(t, "All of a closed snapshot")
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

// Writing through a slice that was not copied faults in the writer's process
// and does not reach the store.
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
	stray(func() {
		_ = s.Modify([]byte("key"), func(old []byte, _ bool) ([]byte, bool) { old[0] = 'X'; return old, true })
	})
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
	require.Equal(t, 1, s.Len())
	sound(t, s)
}

func TestVersion(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		v := s.Version()
		step := func(n uint64) {
			t.Helper()
			v += n
			require.Equal(t, v, s.Version())
			require.Equal(t, v, other.Version())
			require.Equal(t, v, s.Stats().Version)
		}
		set(t, s, "a", "1")
		step(1)
		set(t, other, "a", "1")
		step(1) // also if it is the same
		_, err := other.Delete([]byte("a"))
		require.NoError(t, err)
		step(1)
		require.NoError(t, s.Update(func(tx *shm.Tx) error {
			for i := range 100 {
				require.NoError(t, tx.Set(numbered(i), nil))
			}
			return nil
		}))
		step(1)
		require.NoError(t, s.View(func(sn *shm.Snapshot) error {
			require.Equal(t, v, sn.Version())
			set(t, s, "a", "2")
			require.Equal(t, v, sn.Version())
			return nil
		}))
		step(1)
	})
}

// A young store, in which a slow writer is overtaken by more commits than
// reclaim lags: it must not take its own version for one ahead of the horizon.
func TestSlowWriterInAYoungStore(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			runs := 0
			err := s.Modify([]byte("k"), func([]byte, bool) ([]byte, bool) {
				if runs++; runs == 1 {
					for i := range 900 {
						set(t, other, "n", fmt.Sprint(i))
					}
				}
				return []byte("v"), true
			})
			if err != nil || runs != 2 {
				t.Errorf("%d runs, %v", runs, err)
			}
		}()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			panic("the store does not move any more: the horizon has wrapped")
		}
		require.Equal(t, "v", get(t, other, "k"))
	})
}

// A pinned version stays what it is while the number of commits exceeds what
// the root word's tag can tell apart.
func TestVersionBeyondTheTag(t *testing.T) {
	if testing.Short() {
		t.Skip("70,000 commits")
	}
	stores(t, func(t *testing.T, s, other *shm.Store) {
		set(t, s, "k", "old")
		sn, err := s.Snapshot()
		require.NoError(t, err)
		start := s.Version()
		runs := 0
		require.NoError(t, s.Modify([]byte("k"), func(old []byte, _ bool) ([]byte, bool) {
			if runs++; runs == 1 {
				for i := range 1<<16 + 10 {
					require.NoError(t, other.Set([]byte("n"), fmt.Append(nil, i)))
				}
				require.Equal(t, "old", string(old))
			}
			return []byte("new"), true
		}))
		require.Equal(t, 2, runs)
		require.Equal(t, start+1<<16+11, s.Version())
		require.Equal(t, start, sn.Version())
		require.Equal(t, 1, sn.Len())
		got, err := sn.Get([]byte("k"))
		require.NoError(t, err)
		require.Equal(t, "old", string(got))
		require.Equal(t, "new", get(t, s, "k"))
		require.NoError(t, sn.Close())
	})
}

func TestWait(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		ctx := context.Background()
		set(t, s, "k", "v")
		v := s.Version()
		got, err := s.Wait(ctx, v-1)
		require.NoError(t, err, "at once")
		require.Equal(t, v, got)

		// Woken by a commit of another handle, not by the clock.
		for range 20 {
			v := s.Version()
			woken := make(chan uint64)
			go func() {
				got, err := s.Wait(ctx, v)
				if err != nil {
					got = 0
				}
				woken <- got
			}()
			time.Sleep(time.Millisecond)
			start := time.Now()
			set(t, other, "k", "v")
			require.Equal(t, v+1, <-woken)
			require.Less(t, time.Since(start), 900*time.Millisecond, "woken by the bound on sleep, not by the commit")
		}

		// The end of the context.
		cause, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
		defer cancel()
		start := time.Now()
		v = s.Version()
		got, err = s.Wait(cause, v)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, v, got)
		require.Less(t, time.Since(start), 1500*time.Millisecond)
		_, err = s.Wait(cause, v)
		require.ErrorIs(t, err, context.DeadlineExceeded, "done before it began")
	})
}

// Closing a handle wakes who waits through it.
// Once a Wait that was interrupted has returned, nothing of it is left in the
// handle: a Close that follows gives up the handle's entry before it returns.
func TestWaitLeavesNothing(t *testing.T) {
	s := fileStore(t, nil)
	for range 2000 {
		other, err := shm.Open(s.Path(), &shm.Options{ReadOnly: true})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		go cancel()
		_, err = other.Wait(ctx, s.Version())
		require.ErrorIs(t, err, context.Canceled)
		require.NoError(t, other.Close())
		all, err := s.Processes()
		require.NoError(t, err)
		require.Len(t, all, 1, "the closed handle has an entry still")
	}
}

func TestWaitEndsWithTheStore(t *testing.T) {
	for _, files := range []bool{false, true} {
		t.Run(fmt.Sprintf("files=%v", files), func(t *testing.T) {
			var s *shm.Store
			if files {
				s = fileStore(t, nil)
			} else {
				s = heapStores(t, 1<<20, 1)[0]
			}
			ended := make(chan error)
			for range 5 {
				go func() {
					_, err := s.Wait(context.Background(), 1<<40)
					ended <- err
				}()
			}
			time.Sleep(10 * time.Millisecond)
			start := time.Now()
			require.NoError(t, s.Close())
			for range 5 {
				require.ErrorIs(t, <-ended, shm.ErrClosed)
			}
			require.Less(t, time.Since(start), 700*time.Millisecond, "woken by the bound on sleep, not by Close")
		})
	}
}

func TestStatsAndLen(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		empty := s.Stats()
		require.Zero(t, empty.Entries)
		require.Zero(t, empty.DataBytes)
		require.Positive(t, empty.FileBytes)
		require.Positive(t, empty.AllocatedBytes)
		require.Equal(t, int64(16<<20), empty.MaxSize)
		require.Zero(t, s.Len())
		for i := range 100 {
			require.NoError(t, s.Set(fmt.Appendf(nil, "%03d", i), make([]byte, 97)))
		}
		st := other.Stats()
		require.Equal(t, int64(100), st.Entries)
		require.Equal(t, 100, other.Len())
		require.Equal(t, int64(100*100), st.DataBytes)
		require.Greater(t, st.LiveBytes, st.DataBytes)
		require.Less(t, st.LiveBytes, 2*st.DataBytes)
		for i := range 100 {
			_, err := other.Delete(fmt.Appendf(nil, "%03d", i))
			require.NoError(t, err)
		}
		st = s.Stats()
		require.Zero(t, st.Entries)
		require.Zero(t, st.DataBytes)
		require.Equal(t, empty.LiveBytes, st.LiveBytes, "equal contents take equal space")
	})
}

func TestGetMany(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		for i := range 500 {
			if i%3 != 0 {
				require.NoError(t, s.Set(numbered(i), bytes.Repeat([]byte{byte(i)}, i)))
			}
		}
		for _, n := range []int{0, 1, 2, 63, 64, 65, 128, 129, 500} {
			keys := make([][]byte, n)
			for i := range keys {
				keys[i] = numbered(i * 7 % 500)
			}
			if n > 2 {
				keys[2] = keys[1] // twice the same
			}
			next := 0
			require.NoError(t, s.GetMany(keys, func(i int, value []byte, ok bool) {
				require.Equal(t, next, i, "in order")
				next++
				k := i * 7 % 500
				if i == 2 {
					k = 7
				}
				require.Equal(t, k%3 != 0, ok)
				if ok {
					require.Equal(t, bytes.Repeat([]byte{byte(k)}, k), value)
				} else {
					require.Nil(t, value)
				}
				// All of it is one version, whatever fn does.
				set(t, other, string(numbered(k)), "changed")
				require.NoError(t, other.Set(numbered(k), bytes.Repeat([]byte{byte(k)}, k)))
				if k%3 == 0 {
					_, err := other.Delete(numbered(k))
					require.NoError(t, err)
				}
			}))
			require.Equal(t, n, next)
		}
		require.NoError(t, s.GetMany([][]byte{nil}, func(_ int, _ []byte, ok bool) { require.False(t, ok) }))
	})
}

func TestGetManyIsOneVersion(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		keys := make([][]byte, 200)
		for i := range keys {
			keys[i] = numbered(i)
		}
		all := func(value string) {
			require.NoError(t, other.Update(func(tx *shm.Tx) error {
				for _, key := range keys {
					require.NoError(t, tx.Set(key, []byte(value)))
				}
				return nil
			}))
		}
		all("before")
		require.NoError(t, s.GetMany(keys, func(i int, value []byte, _ bool) {
			if i == 0 {
				all("after")
			}
			require.Equal(t, "before", string(value))
		}))
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
		{"Set", 0, func() { _ = s.Set(next(), value) }},
		{"Delete", 0, func() { _, _ = s.Delete(absent) }},
		{"CompareAndSwap", 5, func() { _, _ = s.CompareAndSwap(next(), value, value) }},
		{"Modify", 5, func() { _ = s.Modify(next(), func([]byte, bool) ([]byte, bool) { return value, true }) }},
		{"Update", 8, func() { _ = s.Update(func(tx *shm.Tx) error { return tx.Set(next(), value) }) }},
		{"View", 5, func() { _ = s.View(func(*shm.Snapshot) error { return nil }) }},
	} {
		n := testing.AllocsPerRun(2000, c.op)
		t.Logf("%-16s %v", c.name, n)
		require.LessOrEqual(t, n, c.most, c.name)
	}
}

func TestPathAndInfo(t *testing.T) {
	dir := t.TempDir() + "/store"
	s, err := shm.Open(dir, &shm.Options{Mode: 0o640, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	require.Equal(t, dir, s.Path())
	info := s.Info()
	require.NotEmpty(t, info.ID)
	require.WithinDuration(t, time.Now(), info.Created, time.Minute)
	for _, name := range []string{"data", "procs"} {
		st, err := os.Stat(dir + "/" + name)
		require.NoError(t, err)
		require.Zero(t, st.Mode().Perm()&^0o640)
	}
	st, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o750), st.Mode().Perm())

	// A handle stays valid when the directory is renamed.
	set(t, s, "k", "v")
	require.NoError(t, os.Rename(dir, dir+"2"))
	set(t, s, "k", "w")
	sound(t, s)
	other, err := shm.Open(dir+"2", &shm.Options{MustExist: true})
	require.NoError(t, err)
	require.Equal(t, "w", get(t, other, "k"))
	require.Equal(t, info, other.Info())
	require.NoError(t, other.Close())
	require.NoError(t, s.Close())
	require.Equal(t, dir, s.Path(), "also after Close")
}

func TestOpenOptions(t *testing.T) {
	dir := t.TempDir() + "/store"
	for _, o := range []shm.Options{{MustExist: true}, {ReadOnly: true}} {
		_, err := shm.Open(dir, &o)
		require.ErrorIs(t, err, fs.ErrNotExist)
		require.ErrorContains(t, err, dir)
	}
	for _, o := range []shm.Options{{MaxSize: -1}, {MaxSize: 1 << 62}, {Mode: fs.ModeDir}, {Exclusive: true, ReadOnly: true}} {
		_, err := shm.Open(dir, &o)
		require.Error(t, err)
	}
	_, err := os.Stat(dir)
	require.ErrorIs(t, err, fs.ErrNotExist, "nothing was created")
	s, err := shm.Open(dir, &shm.Options{Exclusive: true, MaxSize: 1<<20 + 1})
	require.NoError(t, err)
	require.Equal(t, int64(1<<20+64<<10), s.Stats().MaxSize, "rounded up")
	_, err = shm.Open(dir, &shm.Options{Exclusive: true})
	require.ErrorIs(t, err, shm.ErrExist)
	require.ErrorIs(t, err, fs.ErrExist)
	set(t, s, "k", "v")

	ro, err := shm.Open(dir, &shm.Options{ReadOnly: true})
	require.NoError(t, err)
	require.Equal(t, "v", get(t, ro, "k"))
	require.ErrorIs(t, ro.Set([]byte("k"), nil), shm.ErrReadOnly)
	_, err = ro.Delete([]byte("k"))
	require.ErrorIs(t, err, shm.ErrReadOnly)
	_, _, err = ro.Swap([]byte("k"), nil)
	require.ErrorIs(t, err, shm.ErrReadOnly)
	_, err = ro.CompareAndSwap([]byte("k"), nil, nil)
	require.ErrorIs(t, err, shm.ErrReadOnly)
	require.ErrorIs(t, ro.Modify([]byte("k"), func([]byte, bool) ([]byte, bool) { return nil, false }), shm.ErrReadOnly)
	require.ErrorIs(t, ro.Update(func(*shm.Tx) error { return nil }), shm.ErrReadOnly)
	sn, err := ro.Snapshot()
	require.NoError(t, err)
	set(t, s, "k", "w")
	got, err := sn.Get([]byte("k"))
	require.NoError(t, err)
	require.Equal(t, "v", string(got), "a reader's pin holds too")
	version, err := ro.Wait(context.Background(), sn.Version())
	require.NoError(t, err)
	require.Equal(t, s.Version(), version)
	sound(t, ro)
	require.NoError(t, sn.Close())
	require.NoError(t, ro.Close())
	require.NoError(t, s.Close())
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

func TestClosedStore(t *testing.T) {
	for _, files := range []bool{false, true} {
		t.Run(fmt.Sprintf("files=%v", files), func(t *testing.T) {
			var s *shm.Store
			if files {
				s = fileStore(t, nil)
			} else {
				s = heapStores(t, 1<<20, 1)[0]
			}
			set(t, s, "k", "v")
			sn, err := s.Snapshot()
			require.NoError(t, err)
			require.NoError(t, s.Close())
			require.NoError(t, s.Close())
			k := []byte("k")
			errs := map[string]error{}
			_, errs["Get"] = s.Get(k)
			_, errs["Append"] = s.Append(nil, k)
			_, errs["Has"] = s.Has(k)
			errs["GetMany"] = s.GetMany([][]byte{k}, func(int, []byte, bool) {})
			errs["Set"] = s.Set(k, k)
			_, errs["Delete"] = s.Delete(k)
			_, _, errs["Swap"] = s.Swap(k, k)
			_, errs["CompareAndSwap"] = s.CompareAndSwap(k, nil, k)
			errs["Modify"] = s.Modify(k, func([]byte, bool) ([]byte, bool) { return nil, true })
			errs["Update"] = s.Update(func(tx *shm.Tx) error { return nil })
			errs["View"] = s.View(func(*shm.Snapshot) error { return nil })
			_, errs["Snapshot"] = s.Snapshot()
			_, errs["Wait"] = s.Wait(context.Background(), 0)
			_, errs["Check"] = s.Check(context.Background(), nil)
			errs["Extents"] = s.Extents(context.Background(), func(shm.Extent) error { return nil })
			_, errs["Processes"] = s.Processes()
			_, errs["Adopt"] = s.Adopt()
			_, errs["Snapshot.Get"] = sn.Get(k)
			_, errs["Snapshot.Has"] = sn.Has(k)
			for name, err := range errs {
				require.ErrorIs(t, err, shm.ErrClosed, name)
			}
			require.Zero(t, s.Len())
			require.Zero(t, s.Stats())
			require.Zero(t, sn.Len())
			for range sn.All() {
				require.Fail(t, "All of a closed store")
			}
			for range sn.Diff(sn) {
				require.Fail(t, "Diff in a closed store")
			}
			require.NoError(t, sn.Close())
		})
	}
}

// Close while others are at work: they end with ErrClosed or are done.
func TestCloseWhileBusy(t *testing.T) {
	for _, files := range []bool{false, true} {
		t.Run(fmt.Sprintf("files=%v", files), func(t *testing.T) {
			for range 10 {
				var s, other *shm.Store
				if files {
					s = fileStore(t, &shm.Options{MaxSize: 8 << 20})
					var err error
					other, err = shm.Open(s.Path(), nil)
					require.NoError(t, err)
				} else {
					all := heapStores(t, 4<<20, 2)
					s, other = all[0], all[1]
				}
				set(t, s, "k", "value")
				var wg sync.WaitGroup
				for g := range 4 {
					wg.Go(func() {
						for i := 0; ; i++ {
							var err error
							switch (g + i) % 4 {
							case 0:
								err = s.Set(numbered(i%100), []byte("value"))
							case 1:
								var got []byte
								if got, err = s.Get([]byte("k")); err == nil && string(got) != "value" {
									t.Errorf("found %q", got)
								}
							case 2:
								err = s.Update(func(tx *shm.Tx) error { return tx.Set(numbered(i%100), nil) })
							case 3:
								_, err = s.Has([]byte("k"))
							}
							if err != nil {
								if !errors.Is(err, shm.ErrClosed) {
									t.Errorf("%v", err)
								}
								return
							}
						}
					})
				}
				time.Sleep(2 * time.Millisecond)
				if err := s.Close(); err != nil {
					t.Errorf("%v", err)
				}
				wg.Wait()
				require.Equal(t, "value", get(t, other, "k"))
				sound(t, other)
				if files {
					require.NoError(t, other.Close())
				}
			}
		})
	}
}

// Within Update's and Modify's functions the store may be read. A write to it, by
// other means than the transaction, would overtake the transaction each time.
func TestNestedUse(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		set(t, s, "inner", "1")
		nested := func() {
			k := []byte("inner")
			require.ErrorIs(t, s.Set(k, k), shm.ErrNested)
			_, err := s.Delete(k)
			require.ErrorIs(t, err, shm.ErrNested)
			_, _, err = s.Swap(k, k)
			require.ErrorIs(t, err, shm.ErrNested)
			_, err = s.CompareAndSwap(k, nil, k)
			require.ErrorIs(t, err, shm.ErrNested)
			require.ErrorIs(t, s.Modify(k, func([]byte, bool) ([]byte, bool) { return nil, false }), shm.ErrNested)
			require.ErrorIs(t, s.Update(func(*shm.Tx) error { return nil }), shm.ErrNested)

			require.Equal(t, "1", get(t, s, "inner"))
			_, err = s.Get([]byte("outer"))
			require.ErrorIs(t, err, shm.ErrNotFound)
			require.NoError(t, s.View(func(sn *shm.Snapshot) error {
				require.Equal(t, 1, sn.Len())
				_, err := s.Check(context.Background(), nil)
				return err
			}))
			set(t, fileStore(t, nil), "another", "store")
		}
		runs := 0
		require.NoError(t, s.Update(func(tx *shm.Tx) error {
			runs++
			require.NoError(t, tx.Set([]byte("outer"), nil))
			nested()
			return nil
		}))
		require.NoError(t, s.Modify([]byte("modified"), func([]byte, bool) ([]byte, bool) {
			runs++
			_, err := s.Delete([]byte("outer"))
			require.ErrorIs(t, err, shm.ErrNested)
			return []byte("2"), true
		}))
		require.Equal(t, 2, runs)
		require.Equal(t, "2", get(t, other, "modified"))
		require.Equal(t, "1", get(t, other, "inner"))
		set(t, s, "inner", "outside again")

		// Neither an error nor a panic leaves anything behind.
		require.Error(t, s.Update(func(*shm.Tx) error { return errors.New("no") }))
		require.Panics(t, func() { _ = s.Update(func(*shm.Tx) error { panic("no") }) })
		require.NoError(t, s.Update(func(tx *shm.Tx) error { return tx.Set([]byte("outer"), []byte("3")) }))
		set(t, s, "inner", "outside again")
	})
}

// What a nested write that cannot be recognised does to an Update is bounded.
func TestUpdateThatAlwaysLoses(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, s, other *shm.Store) {
		for name, write := range map[string]func(i int) error{
			"another handle": func(i int) error { return other.Set([]byte("k"), fmt.Append(nil, i)) },
			"another goroutine": func(i int) error {
				done := make(chan error)
				go func() { done <- s.Set([]byte("k"), fmt.Append(nil, i)) }()
				return <-done
			},
		} {
			runs := 0
			err := s.Update(func(tx *shm.Tx) error {
				runs++
				require.NoError(t, write(runs))
				return tx.Set([]byte("k"), []byte("mine"))
			})
			require.ErrorIs(t, err, shm.ErrConflict, name)
			require.ErrorContains(t, err, "1000 times", name)
			require.Equal(t, shm.MaxRuns, runs, name)
			require.Equal(t, "1000", get(t, s, "k"), name)

			runs = 0
			err = s.Modify([]byte("k"), func([]byte, bool) ([]byte, bool) {
				runs++
				require.NoError(t, write(-runs))
				return []byte("mine"), true
			})
			require.ErrorIs(t, err, shm.ErrConflict, name)
			require.Equal(t, shm.MaxRuns, runs, name)
			require.Equal(t, "-1000", get(t, s, "k"), name)
		}
	})
}

func TestDiffAfterContraction(t *testing.T) {
	for name, hash := range map[string]func([]byte) uint64{
		"own": nil, "equal": func([]byte) uint64 { return 1 }, "one bit": func(k []byte) uint64 { return fnvHash(k) & (1 << 59) },
	} {
		t.Run(name, func(t *testing.T) {
			stores(t, func(t *testing.T, s, other *shm.Store) {
				s.SetHash(hash)
				other.SetHash(hash)
				take := func() *keptSnapshot {
					sn, err := s.Snapshot()
					require.NoError(t, err)
					k := &keptSnapshot{sn: sn, model: map[string]string{}, version: sn.Version()}
					for key, value := range sn.All() {
						k.model[string(key)] = string(value)
					}
					return k
				}
				kept := []*keptSnapshot{take()}
				grow := func(from, to int, value string) {
					for i := from; i < to; i++ {
						set(t, s, string(numbered(i)), value)
					}
					kept = append(kept, take())
				}
				shrink := func(from, to int) {
					for i := from; i < to; i++ {
						existed, err := other.Delete(numbered(i))
						require.NoError(t, err)
						require.True(t, existed)
					}
					kept = append(kept, take())
				}
				grow(0, 1, "a")
				grow(1, 200, "a")
				grow(0, 100, "a") // the same again: no difference
				shrink(2, 200)
				shrink(1, 2)
				grow(1, 300, "b")
				grow(0, 300, "a")
				shrink(0, 300)
				for _, a := range kept {
					for _, b := range kept {
						sameDiff(t, a, b)
					}
				}
				for range kept[2].sn.Diff(kept[0].sn) {
					break // it can be left early
				}
				for _, k := range kept {
					require.NoError(t, k.sn.Close())
				}
			})
		})
	}
}

// Diff of snapshots that come from two handles.
func TestDiffAcrossHandles(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		set(t, s, "k", "1")
		older, err := s.Snapshot()
		require.NoError(t, err)
		for i := range 3000 { // the file grows in between
			require.NoError(t, other.Set(numbered(i), make([]byte, 200)))
		}
		set(t, other, "k", "2")
		newer, err := other.Snapshot()
		require.NoError(t, err)
		for _, d := range []struct{ a, b *shm.Snapshot }{{newer, older}, {older, newer}} {
			n := 0
			for key, c := range d.a.Diff(d.b) {
				if n++; string(key) == "k" {
					require.NotNil(t, c.Old)
					require.NotNil(t, c.New)
				}
			}
			require.Equal(t, 3001, n)
		}
		require.NoError(t, older.Close())
		for range newer.Diff(older) {
			require.Fail(t, "Diff with a closed snapshot")
		}
		require.NoError(t, newer.Close())
	})
}

// The time of Diff is that of the change, not of the store.
func TestDiffIsProportional(t *testing.T) {
	s := heapStores(t, 64<<20, 1)[0]
	require.NoError(t, s.Update(func(tx *shm.Tx) error {
		for i := range 50000 {
			require.NoError(t, tx.Set(numbered(i), []byte("v")))
		}
		return nil
	}))
	older, err := s.Snapshot()
	require.NoError(t, err)
	set(t, s, string(numbered(77)), "changed")
	newer, err := s.Snapshot()
	require.NoError(t, err)
	start := time.Now()
	const rounds = 1000
	for range rounds {
		n := 0
		for key, c := range newer.Diff(older) {
			require.Equal(t, string(numbered(77)), string(key))
			require.Equal(t, "v", string(c.Old))
			require.Equal(t, "changed", string(c.New))
			n++
		}
		require.Equal(t, 1, n)
	}
	// A walk of the whole would take milliseconds.
	require.Less(t, time.Since(start)/rounds, 500*time.Microsecond)
	require.NoError(t, older.Close())
	require.NoError(t, newer.Close())
}

// In a full store deletes work, by whichever call, and then writes do.
func TestFullStore(t *testing.T) {
	for _, by := range []string{"Delete", "Swap", "CompareAndSwap", "Modify", "Update"} {
		t.Run(by, func(t *testing.T) {
			stores := heapStores(t, 1<<20, 1)
			s := stores[0]
			value := make([]byte, 1000)
			n := 0
			for ; ; n++ {
				if err := s.Set(numbered(n), value); err != nil {
					require.ErrorIs(t, err, shm.ErrFull)
					break
				}
			}
			st := s.Stats()
			t.Logf("full with %d entries: %d bytes of keys and values of %d", n, st.DataBytes, st.MaxSize)
			require.Greater(t, st.DataBytes, st.MaxSize*6/10)
			require.Equal(t, n, s.Len())
			for i := range n {
				require.Equal(t, 1000, len(get(t, s, string(numbered(i)))))
			}
			sound(t, s)
			for i := range n {
				key := numbered(i)
				var err error
				switch by {
				case "Delete":
					_, err = s.Delete(key)
				case "Swap":
					_, _, err = s.Swap(key, nil)
				case "CompareAndSwap":
					_, err = s.CompareAndSwap(key, value, nil)
				case "Modify":
					err = s.Modify(key, func([]byte, bool) ([]byte, bool) { return nil, false })
				case "Update":
					err = s.Update(func(tx *shm.Tx) error { _, err := tx.Delete(key); return err })
				}
				require.NoError(t, err, "delete %d of %d", i, n)
				if i == 20 {
					set(t, s, "again", "there is room")
				}
			}
			require.Equal(t, 1, s.Len())
			require.NoError(t, s.Set([]byte("large"), make([]byte, 200<<10)))
			sound(t, s)
		})
	}
}

// The file system is full before the store is.
func TestFullFileSystem(t *testing.T) {
	h, err := alloc.NewHeap(64 << 20)
	require.NoError(t, err)
	s, _, err := shm.AttachHeap(h, "heap")
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	h.SetLimit(1 << 20)
	n := 0
	for ; ; n++ {
		if err := s.Set(numbered(n), make([]byte, 500)); err != nil {
			require.ErrorIs(t, err, shm.ErrFull)
			break
		}
	}
	require.Equal(t, n, s.Len())
	sound(t, s)
	h.SetLimit(2 << 20)
	for i := range 100 {
		require.NoError(t, s.Set(fmt.Append(nil, "more", i), make([]byte, 500)))
	}
	sound(t, s)
	h.SetLimit(1 << 20)
	for i := range n {
		existed, err := s.Delete(numbered(i))
		require.NoError(t, err)
		require.True(t, existed)
	}
	require.Equal(t, 100, s.Len())
	sound(t, s)
}

// A snapshot of a full store holds what was deleted since; closing it gives
// the space back.
func TestFullBySnapshot(t *testing.T) {
	s := heapStores(t, 1<<20, 1)[0]
	fill := func() (n int) {
		for ; ; n++ {
			if err := s.Set(numbered(n), make([]byte, 1000)); err != nil {
				require.ErrorIs(t, err, shm.ErrFull)
				return n
			}
		}
	}
	n := fill()
	sn, err := s.Snapshot()
	require.NoError(t, err)
	deleted := 0
	for ; deleted < n; deleted++ {
		if _, err := s.Delete(numbered(deleted)); err != nil {
			require.ErrorIs(t, err, shm.ErrFull)
			break
		}
	}
	t.Logf("%d of %d deletes while a snapshot holds all", deleted, n)
	require.Equal(t, n, sn.Len())
	for i := range n {
		got, err := sn.Get(numbered(i))
		require.NoError(t, err)
		require.Len(t, got, 1000)
	}
	sound(t, s)
	require.NoError(t, sn.Close())
	for ; deleted < n; deleted++ {
		_, err := s.Delete(numbered(deleted))
		require.NoError(t, err)
	}
	require.InDelta(t, n, fill(), float64(n)/10)
	sound(t, s)
}

func TestErrorsSayWhere(t *testing.T) {
	s := fileStore(t, &shm.Options{MaxSize: 1 << 20})
	err := s.Set([]byte("k"), make([]byte, 2<<20))
	require.ErrorIs(t, err, shm.ErrTooLarge)
	require.ErrorContains(t, err, s.Path())
	err = s.Set(make([]byte, shm.MaxKey+1), nil)
	require.ErrorContains(t, err, "65537")
	require.ErrorContains(t, err, "65536")
}

func TestManySnapshots(t *testing.T) {
	s := heapStores(t, 8<<20, 1)[0]
	var all []*shm.Snapshot
	for i := range shm.MaxSnapshots {
		set(t, s, "k", fmt.Sprint(i))
		for range 2 { // of one version they share a pin
			sn, err := s.Snapshot()
			require.NoError(t, err)
			all = append(all, sn)
		}
	}
	set(t, s, "k", "one more")
	_, err := s.Snapshot()
	require.ErrorIs(t, err, shm.ErrTooManySnapshots)
	require.Equal(t, "one more", get(t, s, "k"))
	for i, sn := range all {
		got, err := sn.Get([]byte("k"))
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint(i/2), string(got))
		require.NoError(t, sn.Close())
	}
	sn, err := s.Snapshot()
	require.NoError(t, err)
	require.NoError(t, sn.Close())
	sound(t, s)
}

func TestCheckIsCancelled(t *testing.T) {
	s := fileStore(t, nil)
	for i := range 100 {
		require.NoError(t, s.Set(numbered(i), nil))
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := s.Check(ctx, nil)
	require.ErrorIs(t, err, context.Canceled)
	last := int64(0)
	rep, err := s.Check(context.Background(), &shm.CheckOptions{Progress: func(done, total int64) {
		require.GreaterOrEqual(t, done, last)
		require.LessOrEqual(t, done, total)
		last = done
	}})
	require.NoError(t, err)
	require.Equal(t, rep.FileBytes, last)
}
