package shm_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/shm"
)

// sparse fills a store with n entries and deletes nine tenths of them, at random.
// It returns those that are left.
func sparse(t testing.TB, s *shm.Store, n int) map[int]bool {
	t.Helper()
	const batch = 1000
	for base := 0; base < n; base += batch {
		require.NoError(t, s.Update(func(tx *shm.Tx) error {
			for i := base; i < base+batch; i++ {
				if err := tx.Set(spaceKey(nil, i), sparseValue(i)); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	left := map[int]bool{}
	for j, i := range rand.New(rand.NewPCG(4, 4)).Perm(n) {
		if j < n/10 {
			left[i] = true
			continue
		}
		existed, err := s.Delete(spaceKey(nil, i))
		require.NoError(t, err)
		require.True(t, existed)
	}
	return left
}

func sparseValue(i int) []byte { return fmt.Appendf(make([]byte, 0, 100), "%0100d", i) }

// holds verifies that the store has these entries and no others.
func holds(t testing.TB, s *shm.Store, left map[int]bool) {
	t.Helper()
	require.Equal(t, len(left), s.Len())
	for i := range left {
		got, err := s.Get(spaceKey(nil, i))
		require.NoError(t, err)
		require.Equal(t, string(sparseValue(i)), string(got))
	}
}

func TestCompact(t *testing.T) {
	if testing.Short() {
		t.Skip("left out with the race detector, which sees nothing here")
	}
	s := memoryStore(t)
	left := sparse(t, s, 200_000)
	before := s.Stats()
	version := s.Version()
	var last int64
	done, err := s.Compact(t.Context(), &shm.CompactOptions{Progress: func(done, total int64) {
		require.LessOrEqual(t, done, total)
		last = done
	}})
	require.NoError(t, err)
	t.Logf("%+v, %+v", done, s.Stats())
	holds(t, s, left)
	require.Equal(t, before.AllocatedBytes, done.Before)
	require.Equal(t, s.Stats().AllocatedBytes, done.After)
	require.Positive(t, last)
	require.Positive(t, done.Moved)
	require.LessOrEqual(t, done.Moved, int64(len(left)), "entries are moved into slabs that are emptied next")
	require.GreaterOrEqual(t, s.Version(), version+uint64(done.Moved))
	// Tables of the whole file and the pages of slots stay.
	fixed := before.FileBytes/64 + 128<<10
	require.LessOrEqual(t, done.After-fixed, before.LiveBytes*13/10, "live %d", before.LiveBytes)
	rep := sound(t, s)
	require.LessOrEqual(t, rep.RetiredBytes, int64(1024), "next to nothing is left to reclaim")

	again, err := s.Compact(t.Context(), nil)
	require.NoError(t, err)
	require.Less(t, again.Moved, done.Moved/2, "there is little left to do")
	require.LessOrEqual(t, again.Passes, 1)
	holds(t, s, left)
}

// A compaction beside writers and a snapshot: nothing is lost, the snapshot stays,
// and the space comes back when it is closed.
func TestCompactBesideWriters(t *testing.T) {
	s := memoryStore(t)
	left := sparse(t, s, 50_000)
	sn, err := s.Snapshot()
	require.NoError(t, err)

	ctx, cancel := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	counts := make([]int, 2)
	for w := range counts {
		writers.Go(func() {
			for counts[w] == 0 || ctx.Err() == nil {
				err := s.Modify(fmt.Appendf(nil, "counter %d", w), func(old []byte, _ bool) ([]byte, bool) {
					return fmt.Append(nil, counts[w]+1), true
				})
				if err != nil {
					t.Error(err)
					return
				}
				counts[w]++
			}
		})
	}
	var compactors sync.WaitGroup
	for range 2 { // two at once
		compactors.Go(func() {
			if _, err := s.Compact(ctx, nil); err != nil {
				t.Error(err)
			}
		})
	}
	compactors.Wait()
	cancel()
	writers.Wait()

	require.Equal(t, len(left), sn.Len())
	for key, value := range sn.All() {
		var i int
		_, err := fmt.Sscanf(string(key), "key%d", &i)
		require.NoError(t, err)
		require.True(t, left[i])
		require.Equal(t, string(sparseValue(i)), string(value))
	}
	require.NoError(t, sn.Close())
	for w, n := range counts {
		got, err := s.Get(fmt.Appendf(nil, "counter %d", w))
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint(n), string(got))
		_, err = s.Delete(fmt.Appendf(nil, "counter %d", w))
		require.NoError(t, err)
	}
	holds(t, s, left)
	done, err := s.Compact(t.Context(), nil)
	require.NoError(t, err)
	st := s.Stats()
	// Half a MiB is not worth a pass, and as much again are tables and slots.
	require.LessOrEqual(t, done.After, st.LiveBytes*9/8+1<<20)
	require.LessOrEqual(t, done.After, done.Before)
	sound(t, s)
}

// interrupted compacts a sparse store until compact is interrupted after it has moved blocks. It
// tries this with several stores: the keeper may have compacted one where this process is slow.
func interrupted(t *testing.T, compact func(s *shm.Store) (shm.CompactStats, error)) (done shm.CompactStats, err error) {
	t.Helper()
	for tries := 0; tries < 20 && (err == nil || done.Moved == 0); tries++ {
		s := memoryStore(t)
		left := sparse(t, s, 20_000)
		done, err = compact(s)
		holds(t, s, left)
		sound(t, s)
	}
	require.Positive(t, done.Moved)
	return done, err
}

func TestCompactIsInterrupted(t *testing.T) {
	_, err := interrupted(t, func(s *shm.Store) (shm.CompactStats, error) {
		ctx, cancel := context.WithCancel(t.Context())
		return s.Compact(ctx, &shm.CompactOptions{Progress: func(done, total int64) {
			if done >= total/2 {
				cancel()
			}
		}})
	})
	require.ErrorIs(t, err, context.Canceled)

	// At most Rate bytes a second, and the end of the context is not waited for.
	done, err := interrupted(t, func(s *shm.Store) (shm.CompactStats, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		begin := time.Now()
		done, err := s.Compact(ctx, &shm.CompactOptions{Rate: 20_000})
		require.Less(t, time.Since(begin), 5*time.Second)
		return done, err
	})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.LessOrEqual(t, done.MovedBytes, int64(20_000))
}

func TestCompactRefuses(t *testing.T) {
	s := memoryStore(t)
	ro, err := shm.Open(s.Path(), &shm.Options{ReadOnly: true})
	require.NoError(t, err)
	_, err = ro.Compact(t.Context(), nil)
	require.ErrorIs(t, err, shm.ErrReadOnly)
	require.NoError(t, ro.Close())
	_, err = ro.Compact(t.Context(), nil)
	require.ErrorIs(t, err, shm.ErrClosed)
	done, err := s.Compact(t.Context(), nil) // an empty one
	require.NoError(t, err)
	require.Zero(t, done.Moved)
}
