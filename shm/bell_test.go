package shm_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/shm"
)

// bounded is a context that ends long after all rings that are not lost have come.
func bounded(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// turnOf returns whose turn it is.
func turnOf(t *testing.T, s *shm.Store) uint64 {
	got, err := s.Get([]byte("turn"))
	if err != nil && !errors.Is(err, shm.ErrNotFound) {
		t.Errorf("%v", err)
	}
	return value(got)
}

// Each of some goroutines, on several handles, waits for its turn, takes it, and rings. A
// ring that is lost or late costs 50 ms at least, so that the context ends.
func TestBellLosesNoRing(t *testing.T) {
	crowd(t, 3, func(t *testing.T, all []*shm.Store) {
		ctx := bounded(t)
		const players = 6
		turns := uint64(scaled(5000))
		var looks atomic.Int64
		var wg sync.WaitGroup
		for player := range uint64(players) {
			wg.Go(func() {
				s := all[player%3]
				b := s.Bell(42)
				for turn := player; turn < turns; turn += players {
					err := b.Await(ctx, func() (shm.Owner, bool) {
						looks.Add(1)
						return 0, turnOf(t, s) == turn
					})
					if err == nil {
						err = s.Set([]byte("turn"), number(turn+1))
					}
					if err == nil {
						err = b.Ring()
					}
					if err != nil {
						t.Errorf("turn %d: %v", turn, err)
						return
					}
				}
			})
		}
		wg.Wait()
		t.Logf("%d looks in %d turns", looks.Load(), turns)
	})
}

// A bell that rings while a waiter looks makes it look again.
func TestBellRingsWhileAWaiterLooks(t *testing.T) {
	crowd(t, 2, func(t *testing.T, all []*shm.Store) {
		ctx := bounded(t)
		for range scaled(300) {
			looks := 0
			require.NoError(t, all[0].Bell(7).Await(ctx, func() (shm.Owner, bool) {
				looks++
				if looks == 1 {
					require.NoError(t, all[1].Bell(7).Ring())
				}
				return 0, looks == 2
			}))
		}
	})
}

// What somebody does who dies before it rings is seen, only later.
func TestBellWithoutARing(t *testing.T) {
	t.Parallel()
	crowd(t, 1, func(t *testing.T, all []*shm.Store) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		me, err := all[0].Owner()
		require.NoError(t, err)
		looks := 0
		require.NoError(t, all[0].Bell(7).Await(ctx, func() (shm.Owner, bool) {
			looks++
			return me, looks == 2 && ctx.Err() == nil
		}))
	})
}

// Whoever waits for a handle looks again when that is closed or its process has died.
func TestBellTellsOfDeaths(t *testing.T) {
	t.Parallel()
	h, err := alloc.NewHeap(1 << 20)
	require.NoError(t, err)
	s, _, err := shm.AttachHeap(h, "heap")
	require.NoError(t, err)
	ctx := bounded(t)
	for i := range scaled(100) {
		other, die, err := shm.AttachHeap(h, "heap")
		require.NoError(t, err)
		name, err := other.Owner()
		require.NoError(t, err)
		const waiters = 3
		var wg sync.WaitGroup
		var waiting atomic.Int64
		for g := range waiters {
			wg.Go(func() {
				first := true
				err := s.Bell(uint64(g)).Await(ctx, func() (shm.Owner, bool) {
					if first {
						waiting.Add(1)
						first = false
					}
					alive, err := s.Alive(name)
					if err != nil {
						t.Errorf("%v", err)
					}
					return name, !alive
				})
				if err != nil {
					t.Errorf("%v", err)
				}
			})
		}
		for waiting.Load() < waiters {
			time.Sleep(50 * time.Microsecond)
		}
		if i%2 == 0 {
			die()
		} else {
			require.NoError(t, other.Close())
		}
		wg.Wait()
	}
	require.NoError(t, s.Close())
}

// A context ends its own wait, and no other one.
func TestBellContext(t *testing.T) {
	crowd(t, 1, func(t *testing.T, all []*shm.Store) {
		b := all[0].Bell(1)
		own, cancel := context.WithCancel(t.Context())
		var ready sync.WaitGroup
		ended, stays := make(chan error, 1), make(chan error, 1)
		var open atomic.Bool
		wait := func(ctx context.Context, to chan error) {
			ready.Add(1)
			go func() {
				to <- b.Await(ctx, sync.OnceValues(func() (shm.Owner, bool) { ready.Done(); return 0, false }))
			}()
		}
		wait(own, ended)
		ready.Add(1)
		once := sync.OnceFunc(ready.Done)
		go func() {
			stays <- b.Await(bounded(t), func() (shm.Owner, bool) { once(); return 0, open.Load() })
		}()
		ready.Wait()
		cancel()
		require.ErrorIs(t, <-ended, context.Canceled)
		open.Store(true)
		require.NoError(t, b.Ring())
		require.NoError(t, <-stays)

		done, cancelled := context.WithCancel(t.Context())
		cancelled()
		require.NoError(t, b.Await(done, func() (shm.Owner, bool) { return 0, true }), "look comes before the context")
		require.ErrorIs(t, b.Await(done, func() (shm.Owner, bool) { return 0, false }), context.Canceled)
	})
}

// Close ends all waits of its handle, and is over when they have ended: no goroutine of the
// handle is left that sleeps.
func TestBellEndsWithClose(t *testing.T) {
	crowd(t, 1, func(t *testing.T, all []*shm.Store) {
		for range scaled(20) {
			var s *shm.Store
			if all[0].Path() == "heap" {
				s = heapStores(t, 1<<20, 1)[0]
			} else {
				var err error
				s, err = shm.Open(all[0].Path(), nil)
				require.NoError(t, err)
			}
			const waiters = 100
			var ready, wg sync.WaitGroup
			ready.Add(waiters)
			for g := range waiters {
				wg.Go(func() {
					once := sync.OnceFunc(ready.Done)
					err := s.Bell(uint64(g)).Await(context.Background(), func() (shm.Owner, bool) { once(); return 0, false })
					if !errors.Is(err, shm.ErrClosed) {
						t.Errorf("a wait ended with %v", err)
					}
				})
			}
			ready.Wait()
			require.NoError(t, s.Close())
			wg.Wait()
			require.ErrorIs(t, s.Bell(1).Ring(), shm.ErrClosed)
			require.ErrorIs(t, s.Bell(1).Await(t.Context(), func() (shm.Owner, bool) { return 0, true }), shm.ErrClosed)
		}
	})
}

// After a wait that has ended nothing of the handle is left when Close returns.
func TestNoWatcherOutlivesClose(t *testing.T) {
	path := fileStore(t, nil).Path()
	for range 20 {
		s, err := shm.Open(path, nil)
		require.NoError(t, err)
		name, err := s.Owner()
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		err = s.Bell(3).Await(ctx, func() (shm.Owner, bool) { time.AfterFunc(time.Millisecond, cancel); return 0, false })
		require.ErrorIs(t, err, context.Canceled)
		require.NoError(t, s.Close())
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		require.NotContains(t, string(stacks), "(*bell).watch(", "a goroutine sleeps on")
		other, err := shm.Open(path, nil)
		require.NoError(t, err)
		alive, err := other.Alive(name)
		require.NoError(t, err)
		require.False(t, alive)
		require.NoError(t, other.Close())
	}
}

// A name is of one handle. The handle itself, another one of its process, and one that can
// only read are asked about, and ask.
func TestOwner(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		names := map[shm.Owner]bool{0: false}
		for _, h := range []*shm.Store{s, other} {
			name, err := h.Owner()
			require.NoError(t, err)
			again, err := h.Owner()
			require.NoError(t, err)
			require.Equal(t, name, again)
			require.NotContains(t, names, name)
			names[name] = true
		}
		for name, want := range names {
			for _, h := range []*shm.Store{s, other} {
				alive, err := h.Alive(name)
				require.NoError(t, err)
				require.Equal(t, want, alive, "%#x", name)
			}
		}
	})
	s := fileStore(t, nil)
	reader, err := shm.Open(s.Path(), &shm.Options{ReadOnly: true})
	require.NoError(t, err)
	name, err := reader.Owner()
	require.NoError(t, err)
	alive, err := s.Alive(name)
	require.NoError(t, err)
	require.True(t, alive)
	sn, err := reader.Snapshot()
	require.NoError(t, err)
	require.NoError(t, reader.Close())
	alive, err = s.Alive(name)
	require.NoError(t, err)
	require.True(t, alive, "a snapshot of it is open")
	require.NoError(t, sn.Close())
	alive, err = s.Alive(name)
	require.NoError(t, err)
	require.False(t, alive)
}

// A copy of a store has no owner of the original.
func TestOwnersInCopies(t *testing.T) {
	s := fileStore(t, nil)
	path := s.Path() + "-copy"
	require.NoError(t, s.Backup(t.Context(), path))
	require.NoError(t, shm.Rewrite(t.Context(), path, nil))
	for range 3 {
		copied, err := shm.Open(path, &shm.Options{ReadOnly: true})
		require.NoError(t, err)
		name, err := copied.Owner()
		require.NoError(t, err)
		alive, err := s.Alive(name)
		require.NoError(t, err)
		require.False(t, alive)
		name, err = s.Owner()
		require.NoError(t, err)
		alive, err = copied.Alive(name)
		require.NoError(t, err)
		require.False(t, alive)
		require.NoError(t, copied.Close())
	}
}

// All bells are used, whichever bits of the hash differ.
func TestBellOfAHash(t *testing.T) {
	s := heapStores(t, 1<<20, 1)[0]
	for shift := range 58 {
		bells := map[string]bool{}
		for i := range uint64(1000) {
			bells[fmt.Sprint(s.Bell(i<<shift))] = true
		}
		require.Greater(t, len(bells), 40, "hashes that differ from bit %d on", shift)
	}
}
