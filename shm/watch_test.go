package shm_test

import (
	"context"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/shm"
)

func TestWatchVersions(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		w := s.Watch(ctx)
		want := s.Version()
		for version := range w.Versions() {
			require.Equal(t, want, version, "each commit waits for its step")
			require.Equal(t, want, w.Version())
			if want++; want > 10 {
				break
			}
			set(t, other, "k", fmt.Sprint(want))
		}
		require.NoError(t, w.Err(), "a break is no error")

		steps := 0
		for range w.Versions() {
			steps++
			cancel()
		}
		require.Equal(t, 1, steps)
		require.ErrorIs(t, w.Err(), context.Canceled)
	})
}

// What Changes says makes a copy of the store, and keeps it current.
func TestWatchChanges(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		model := map[string]string{}
		write := func(round int) {
			require.NoError(t, other.Update(func(tx *shm.Tx) error {
				for i := range 20 {
					key := fmt.Sprint((i*7 + round*3) % 50)
					if (i+round)%3 == 0 {
						_, err := tx.Delete([]byte(key))
						require.NoError(t, err)
						delete(model, key)
					} else {
						require.NoError(t, tx.Set([]byte(key), fmt.Append(nil, round)))
						model[key] = fmt.Sprint(round)
					}
				}
				return nil
			}))
		}
		write(0)
		copied := map[string]string{}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		w := s.Watch(ctx)
		round, shown := 0, uint64(0)
		seen := 0
		for key, c := range w.Changes() {
			if w.Version() != shown { // the first change of a version
				shown = w.Version()
				seen = 0
			}
			was, had := copied[string(key)]
			require.Equal(t, had, c.Old != nil)
			require.Equal(t, was, string(c.Old))
			if c.New == nil {
				delete(copied, string(key))
			} else {
				copied[string(key)] = string(c.New)
			}
			if seen++; maps.Equal(copied, model) {
				if round++; round == 10 {
					break
				}
				write(round)
			}
		}
		require.NoError(t, w.Err())
		require.Equal(t, 10, round)
		require.Equal(t, model, copied)
		rep := sound(t, s)
		require.Empty(t, rep.Held, "the pin is gone")
	})
}

func TestWatchOfAClosedStore(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		set(t, s, "k", "v")
		w := s.Watch(t.Context())
		for range w.Changes() {
			require.NoError(t, s.Close())
		}
		require.ErrorIs(t, w.Err(), shm.ErrClosed)
		for range w.Versions() {
			t.Fatal("a closed store has versions")
		}
		require.ErrorIs(t, w.Err(), shm.ErrClosed)
	})
}

// A loop ends when its context does, also beside a writer that is faster than the body,
// and whatever its body does the pin goes.
func TestWatchEnds(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		set(t, s, "k", "0")
		ctx, cancel := context.WithCancel(t.Context())
		w := s.Watch(ctx)
		n := 0
		write := func() {
			n++
			set(t, other, "k", fmt.Sprint(n))
		}
		for range w.Versions() {
			write()
			if n == 3 {
				cancel()
			}
			require.LessOrEqual(t, n, 3)
		}
		require.ErrorIs(t, w.Err(), context.Canceled)
		n = 10
		for range w.Changes() {
			t.Fatal("the context was done before")
		}
		require.ErrorIs(t, w.Err(), context.Canceled)

		ctx, cancel = context.WithCancel(t.Context())
		defer cancel()
		w = s.Watch(ctx)
		steps := 0
		for range w.Changes() {
			steps++
			write()
			cancel()
		}
		require.Equal(t, 1, steps)
		require.ErrorIs(t, w.Err(), context.Canceled)

		for _, after := range []int{1, 2} {
			require.Panics(t, func() {
				steps := 0
				for range s.Watch(t.Context()).Changes() {
					write()
					if steps++; steps == after {
						panic("enough")
					}
				}
			})
		}
		all, err := s.Inspect().Processes()
		require.NoError(t, err)
		for _, p := range all {
			require.Empty(t, p.Pins)
		}
	})
}

// The pairs of Snapshots follow each other, and both are open during a step.
func TestWatchSnapshots(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		w := s.Watch(t.Context())
		want, steps := s.Version(), 0
		var kept []*shm.Snapshot
		for older, newer := range w.Snapshots() {
			require.Equal(t, want, newer.Version())
			require.Equal(t, want, w.Version())
			if steps == 0 {
				require.Nil(t, older)
			} else {
				require.Equal(t, want-1, older.Version())
				changes := 0
				for key, c := range newer.Diff(older) {
					changes++
					require.Equal(t, "k", string(key))
					require.Equal(t, fmt.Sprint(steps), string(c.New))
				}
				require.Equal(t, 1, changes)
				require.NoError(t, newer.Err())
			}
			kept = append(kept, newer)
			if steps++; steps == 5 {
				break
			}
			set(t, other, "k", fmt.Sprint(steps))
			want++
		}
		require.NoError(t, w.Err())
		for _, sn := range kept {
			_, err := sn.Get([]byte("k"))
			require.ErrorIs(t, err, shm.ErrClosed)
		}
	})
}
