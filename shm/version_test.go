package shm_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/shm"
)

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
		step(0) // the value was the same
		set(t, other, "a", "2")
		step(1)
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
			set(t, s, "a", "3")
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
		for i := range 20 {
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
			set(t, other, "k", fmt.Sprint(i))
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
		all, err := s.Inspect().Processes()
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

// The version of an entry is that of the commit that wrote it, for all who ask.
func TestGetVersion(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		key := []byte("k")
		_, _, err := s.GetVersion(key)
		require.ErrorIs(t, err, shm.ErrNotFound)
		for i := range 5 {
			set(t, other, "k", fmt.Sprint(i))
			wrote := s.Version()
			set(t, other, "other", fmt.Sprint(i))
			set(t, other, "k", fmt.Sprint(i)) // the same value
			value, version, err := s.GetVersion(key)
			require.NoError(t, err)
			require.Equal(t, fmt.Sprint(i), string(value))
			require.Equal(t, wrote, version)
			require.NoError(t, s.View(func(sn *shm.Snapshot) error {
				value, version, err := sn.GetVersion(key)
				require.NoError(t, err)
				require.Equal(t, fmt.Sprint(i), string(value))
				require.Equal(t, wrote, version)
				_, _, err = sn.GetVersion([]byte("absent"))
				require.ErrorIs(t, err, shm.ErrNotFound)
				return nil
			}))
		}
		set(t, s, "k", "")
		value, _, err := s.GetVersion(key)
		require.NoError(t, err)
		require.NotNil(t, value)

		wrote := s.Version()
		version, err := s.UpdateVersion(func(tx *shm.Tx) error {
			_, version, err := tx.GetVersion(key)
			require.NoError(t, err)
			require.Equal(t, wrote, version)
			for range 40 { // some are carried out, others wait
				require.NoError(t, tx.Set(key, []byte("own")))
				value, version, err = tx.GetVersion(key)
				require.NoError(t, err)
				require.Equal(t, "own", string(value))
				require.Zero(t, version)
				require.NoError(t, tx.Set(fmt.Append(nil, tx.Len()), nil))
			}
			return nil
		})
		require.NoError(t, err)
		require.Equal(t, wrote+1, version)
		_, got, err := s.GetVersion(key)
		require.NoError(t, err)
		require.Equal(t, version, got)
	})
}

// A set of the value that is there does not make an entry the transaction's own.
func TestGetVersionOfTheSameValue(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		set(t, s, "k", "v")
		wrote := s.Version()
		require.NoError(t, other.Update(func(tx *shm.Tx) error {
			require.NoError(t, tx.Set([]byte("k"), []byte("v")))
			for range 2 {
				_, version, err := tx.GetVersion([]byte("k"))
				require.NoError(t, err)
				require.Equal(t, wrote, version)
				require.Equal(t, 1, tx.Len())
			}
			return nil
		}))
		require.Equal(t, wrote, s.Version())
	})
}

// UpdateVersion returns the version that shows what the function left.
func TestUpdateVersion(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		put := func(value string) func(tx *shm.Tx) error {
			return func(tx *shm.Tx) error { return tx.Set([]byte("k"), []byte(value)) }
		}
		before := s.Version()
		version, err := s.UpdateVersion(put("1"))
		require.NoError(t, err)
		require.Equal(t, before+1, version)
		version, err = other.UpdateVersion(put("1"))
		require.NoError(t, err)
		require.Equal(t, before+1, version, "nothing was changed")
		require.Equal(t, before+1, s.Version())

		runs := 0
		version, err = s.UpdateVersion(func(tx *shm.Tx) error {
			if runs++; runs == 1 {
				set(t, other, "other", "v")
			}
			return tx.Set([]byte("k"), []byte("2"))
		})
		require.NoError(t, err)
		require.Equal(t, 2, runs)
		require.Equal(t, before+3, version)

		version, err = s.UpdateVersion(func(tx *shm.Tx) error { return errors.New("enough") })
		require.Error(t, err)
		require.Zero(t, version)
	})
}

// A write that changes nothing makes no commit, in all forms of a write.
func TestNoChangeNoCommit(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		key, value := []byte("k"), []byte("value")
		require.NoError(t, s.Set(key, value))
		before := s.Stats()
		for name, write := range map[string]func() error{
			"Set":    func() error { return other.Set(key, value) },
			"Delete": func() error { _, err := other.Delete([]byte("absent")); return err },
			"Swap": func() error {
				old, existed, err := other.Swap(key, value)
				require.True(t, existed)
				require.Equal(t, value, old)
				return err
			},
			"Swap of an absent key": func() error { _, _, err := other.Swap([]byte("absent"), nil); return err },
			"CompareAndSwap": func() error {
				swapped, err := other.CompareAndSwap(key, value, value)
				require.True(t, swapped, "it had that value")
				return err
			},
			"Modify": func() error {
				return other.Modify(key, func(old []byte, exists bool) ([]byte, bool) { return old, true })
			},
			"Update": func() error {
				return other.Update(func(tx *shm.Tx) error {
					_, err := tx.Delete([]byte("absent"))
					return errors.Join(err, tx.Set(key, value), tx.Set(key, value))
				})
			},
		} {
			require.NoError(t, write(), name)
			require.Equal(t, before.Version, s.Version(), name)
			require.Equal(t, before.Counters, s.Stats().Counters, name)
		}
		// To another value and back is a change.
		require.NoError(t, s.Update(func(tx *shm.Tx) error {
			return errors.Join(tx.Set(key, nil), tx.Set(key, value))
		}))
		require.Equal(t, before.Version+1, s.Version())
		require.Equal(t, "value", get(t, other, "k"))
	})
}
