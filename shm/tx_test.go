package shm_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/shm"
)

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
				require.NoError(t, other.Set(numbered(i%10), shm.Fresh(14)))
			}
			require.Equal(t, "published value", string(published))
			require.Equal(t, "own value", string(own))
			require.True(t, bytes.Equal(large, run))
			return errGiveUp // the other's commits would let it run again
		}))
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
			require.GreaterOrEqual(t, runs, shm.MaxRuns, name)
			require.Less(t, runs, 4*shm.MaxRuns, name) // where memory was reused, it has begun again
			require.Equal(t, fmt.Sprint(-runs), get(t, s, "k"), name)
		}
	})
}
