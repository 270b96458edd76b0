package shm_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/shm"
)

// twoHandles runs a story with two handles on a store of 200 entries.
func twoHandles(t *testing.T, story func(t *testing.T, s, other *shm.Store)) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		for i := range 200 {
			set(t, s, string(numbered(i)), fmt.Sprint("value ", i))
		}
		story(t, s, other)
	})
}

// overwrite replaces all values often enough that unpinned memory is reused.
func overwrite(t *testing.T, s *shm.Store) {
	for round := range 40 {
		for i := range 200 {
			set(t, s, string(numbered(i)), fmt.Sprint("other ", round))
		}
	}
}

// A snapshot shows its version until it is closed, whatever happens to its store. The last
// one to close ends the handle.
func TestSnapshotOutlivesItsStore(t *testing.T) {
	twoHandles(t, func(t *testing.T, s, other *shm.Store) {
		sn, err := s.Snapshot()
		require.NoError(t, err)
		set(t, other, "later", "1")
		last, err := s.Snapshot()
		require.NoError(t, err)
		require.NoError(t, s.Close())
		overwrite(t, other)
		alive(t, other, 2)
		require.NoError(t, s.Close())
		alive(t, other, 2)

		for name, reading := range map[string]func() int{
			"Get": func() (n int) {
				for i := range 200 {
					value, err := sn.Get(numbered(i))
					require.NoError(t, err)
					require.Equal(t, fmt.Sprint("value ", i), string(value))
					n++
				}
				return n
			},
			"GetMany": func() (n int) {
				keys := make([][]byte, 200)
				for i := range keys {
					keys[i] = numbered(i)
				}
				for i, value := range sn.GetMany(keys) {
					require.Equal(t, fmt.Sprint("value ", i), string(value))
					n++
				}
				return n
			},
			"All": func() (n int) {
				for range sn.All() {
					n++
				}
				return n
			},
			"Len": sn.Len,
		} {
			require.Equal(t, 200, reading(), name)
		}
		_, err = sn.Get([]byte("later"))
		require.ErrorIs(t, err, shm.ErrNotFound)
		for key, c := range last.Diff(sn) {
			require.Equal(t, "later", string(key))
			require.Equal(t, shm.Change{New: []byte("1")}, c)
		}
		if s.Path() != "heap" {
			require.NoError(t, sn.Backup(t.Context(), t.TempDir()+"/backup"))
		}
		require.NoError(t, sn.Err())
		require.NoError(t, last.Err())

		require.NoError(t, sn.Close())
		require.NoError(t, sn.Close())
		require.Equal(t, 201, last.Len())
		alive(t, other, 2)
		require.NoError(t, last.Close())
		alive(t, other, 1)
		require.Zero(t, last.Len())
		_, err = last.Get(numbered(1))
		require.ErrorIs(t, err, shm.ErrClosed)
		allPinsAreFree(t, other)
	})
}

// A loop keeps the handle of its snapshot, even if both the snapshot and the store are
// closed in the middle.
func TestCloseInALoop(t *testing.T) {
	twoHandles(t, func(t *testing.T, s, other *shm.Store) {
		sn, err := s.Snapshot()
		require.NoError(t, err)
		n := 0
		for key, value := range sn.All() {
			switch n++; n {
			case 10:
				require.NoError(t, s.Close())
				overwrite(t, other)
			case 20:
				require.NoError(t, sn.Close())
				overwrite(t, other)
				alive(t, other, 2)
			}
			var i int
			_, err := fmt.Sscanf(string(key), "key %d", &i)
			require.NoError(t, err)
			require.Equal(t, fmt.Sprint("value ", i), string(value))
		}
		require.Equal(t, 20, n)
		require.ErrorIs(t, sn.Err(), shm.ErrClosed)
		require.ErrorContains(t, sn.Err(), s.Path())
		alive(t, other, 1)
	})
}

func TestCloseInDiff(t *testing.T) {
	for name, end := range map[string]func(s *shm.Store, older, newer *shm.Snapshot) error{
		"older": func(s *shm.Store, older, _ *shm.Snapshot) error { return errors.Join(s.Close(), older.Close()) },
		"newer": func(s *shm.Store, _, newer *shm.Snapshot) error { return errors.Join(newer.Close(), s.Close()) },
	} {
		t.Run(name, func(t *testing.T) {
			twoHandles(t, func(t *testing.T, s, other *shm.Store) {
				older, err := s.Snapshot()
				require.NoError(t, err)
				overwrite(t, other)
				newer, err := s.Snapshot()
				require.NoError(t, err)
				n := 0
				for key, c := range newer.Diff(older) {
					if n++; n == 10 {
						require.NoError(t, end(s, older, newer))
						overwrite(t, other)
					}
					var i int
					_, err := fmt.Sscanf(string(key), "key %d", &i)
					require.NoError(t, err)
					require.Equal(t, fmt.Sprint("value ", i), string(c.Old))
					require.Equal(t, "other 39", string(c.New))
				}
				require.Equal(t, 10, n)
				require.ErrorIs(t, newer.Err(), shm.ErrClosed)
				require.NoError(t, older.Close())
				require.NoError(t, newer.Close())
				alive(t, other, 1)
			})
		})
	}
}

func TestCloseInGetMany(t *testing.T) {
	twoHandles(t, func(t *testing.T, s, other *shm.Store) {
		var keys [][]byte
		for i := range 200 {
			keys = append(keys, numbered(i))
		}
		n := 0
		err := s.GetMany(keys, func(i int, value []byte, ok bool) {
			if n++; n == 70 {
				require.NoError(t, s.Close())
				overwrite(t, other)
			}
			require.True(t, ok)
			require.Equal(t, fmt.Sprint("value ", i), string(value))
		})
		require.NoError(t, err)
		require.Equal(t, 200, n)
		alive(t, other, 1)
	})
}

// A View goes on as it is when its store is closed.
func TestCloseInView(t *testing.T) {
	twoHandles(t, func(t *testing.T, s, other *shm.Store) {
		require.NoError(t, s.View(func(sn *shm.Snapshot) error {
			value, err := sn.Get(numbered(7))
			require.NoError(t, err)
			require.NoError(t, s.Close())
			overwrite(t, other)
			require.Equal(t, "value 7", string(value))
			value, err = sn.Get(numbered(8))
			require.NoError(t, err)
			require.Equal(t, "value 8", string(value))
			require.Equal(t, 200, sn.Len())
			alive(t, other, 2)
			return nil
		}))
		alive(t, other, 1)
	})
}

// alive requires that so many handles are attached.
func alive(t testing.TB, s *shm.Store, want int) {
	t.Helper()
	all, err := s.Inspect().Processes()
	require.NoError(t, err)
	require.Len(t, all, want)
}

// A loop that ends by itself, or by a break, leaves no error.
func TestErrOfLoops(t *testing.T) {
	twoHandles(t, func(t *testing.T, s, _ *shm.Store) {
		sn, err := s.Snapshot()
		require.NoError(t, err)
		for range sn.All() {
		}
		for range sn.All() {
			break
		}
		for range sn.Diff(sn) {
		}
		require.NoError(t, sn.Err())
		require.NoError(t, sn.Close())
		for range sn.All() {
			require.Fail(t, "a closed snapshot has entries")
		}
		require.ErrorIs(t, sn.Err(), shm.ErrClosed)
	})
}

// Compact that Close interrupts says so.
func TestCloseInCompact(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		for i := range 3000 {
			set(t, s, string(numbered(i)), string(make([]byte, 400)))
		}
		for i := range 3000 {
			if i%10 != 0 {
				_, err := s.Delete(numbered(i))
				require.NoError(t, err)
			}
		}
		_, err := s.Compact(context.Background(), &shm.CompactOptions{Progress: func(int64, int64) {
			require.NoError(t, s.Close())
		}})
		require.ErrorIs(t, err, shm.ErrClosed)
		set(t, other, "k", "v")
	})
}

// A program that drops a handle may still use what a snapshot of it has shown.
func TestDroppedHandle(t *testing.T) {
	other := fileStore(t, &shm.Options{MaxSize: 16 << 20})
	set(t, other, "k", "value")
	value := func() []byte {
		s, err := shm.Open(other.Path(), nil)
		require.NoError(t, err)
		sn, err := s.Snapshot()
		require.NoError(t, err)
		value, err := sn.Get([]byte("k"))
		require.NoError(t, err)
		return value
	}()
	for range 5 {
		runtime.GC()
	}
	for i := range 1000 {
		set(t, other, "k", fmt.Sprint(i))
	}
	require.Equal(t, "value", string(value))
	alive(t, other, 2)
}

// Many snapshots of one handle, once closed, leave pins for all others.
func TestClosedSnapshotsAreGivenBack(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		var all []*shm.Snapshot
		for i := range shm.MaxSnapshots {
			set(t, s, "k", fmt.Sprint(i))
			sn, err := s.Snapshot()
			require.NoError(t, err)
			all = append(all, sn)
		}
		_, err := other.Snapshot()
		require.ErrorIs(t, err, shm.ErrTooManySnapshots)
		for _, sn := range all {
			require.NoError(t, sn.Close())
		}
		all = all[:0]
		for i := range shm.MaxSnapshots {
			set(t, s, "k", fmt.Sprint(i))
			sn, err := other.Snapshot()
			require.NoError(t, err)
			all = append(all, sn)
		}
		for _, sn := range all {
			require.NoError(t, sn.Close())
		}
	})
}

// An iteration that outlives its transaction does not disturb the next one, which
// may use the same slot.
func TestTxAllKept(t *testing.T) {
	twoHandles(t, func(t *testing.T, s, _ *shm.Store) {
		var next func() ([]byte, []byte, bool)
		var stop func()
		require.NoError(t, s.Update(func(tx *shm.Tx) error {
			next, stop = iter.Pull2(tx.All())
			_, _, ok := next()
			require.True(t, ok)
			return tx.Set([]byte("first"), nil)
		}))
		require.NoError(t, s.Update(func(tx *shm.Tx) error {
			for i := range 200 { // so that the nodes are the transaction's own
				require.NoError(t, tx.Set(numbered(i), []byte("second")))
			}
			seen := map[string]bool{}
			for key := range tx.All() {
				if len(seen) == 5 {
					_, _, ok := next()
					require.False(t, ok, "the transaction has ended")
					stop()
				}
				require.False(t, seen[string(key)])
				seen[string(key)] = true
				for i := range 20 {
					require.NoError(t, tx.Set(fmt.Appendf(nil, "%s-%d", key, i), nil))
				}
			}
			require.Len(t, seen, 201, "the state at the beginning of the iteration")
			return nil
		}))
		require.Equal(t, 201*21, s.Len())
	})
}

// Append reads a key that lies in the spare room of its destination, whatever is
// written meanwhile.
func TestAppendOverItsKey(t *testing.T) {
	all := heapStores(t, 64<<20, 2)
	s, writer := all[0], all[1]
	value := make([]byte, 1<<20)
	require.NoError(t, s.Set([]byte("key"), value))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				if err := writer.Set([]byte("key"), shm.Fresh(len(value))); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	buf := make([]byte, 2<<20)
	for range 100 {
		n := copy(buf, "key")
		got, err := s.Append(buf[:0], buf[:n])
		if err != nil || len(got) != len(value) {
			t.Errorf("found %d bytes, %v, expected %d", len(got), err, len(value))
			break
		}
	}
	close(stop)
	wg.Wait()
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
			errs["Extents"] = extents(context.Background(), s)
			_, errs["Processes"] = s.Inspect().Processes()
			_, errs["Adopt"] = s.Inspect().Adopt()
			_, errs["Owner"] = s.Owner()
			_, errs["Alive"] = s.Alive(0)
			for name, err := range errs {
				require.ErrorIs(t, err, shm.ErrClosed, name)
			}
			require.Zero(t, s.Len())
			require.Zero(t, s.Stats())
			require.Equal(t, 1, sn.Len(), "a snapshot that is open")
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
								err = s.Set(numbered(i%100), shm.Fresh(5))
							case 1:
								var got []byte
								if got, err = s.Get([]byte("k")); err == nil && string(got) != "value" {
									t.Errorf("found %q", got)
								}
							case 2:
								err = s.Update(func(tx *shm.Tx) error { return tx.Set(numbered(i%100), shm.Fresh(3)) })
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
