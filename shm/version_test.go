package shm_test

import (
	"context"
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
