package shm_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/shm"
)

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
