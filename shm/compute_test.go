package shm_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/alloc"
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

// The value that a function of Compute looks at does not change, however often the store
// reuses the memory that it was in, and whether the value is copied or pinned.
func TestComputeSeesOneValue(t *testing.T) {
	h, err := alloc.NewHeap(4 << 20)
	require.NoError(t, err)
	h.SetEager()
	attach := func() *shm.Store {
		s, _, err := shm.AttachHeap(h, "heap")
		require.NoError(t, err)
		return s
	}
	s, other := attach(), attach()
	for _, size := range []int{10, 300, 16 << 10, 16<<10 + 1, 40_000} {
		value := func(b byte) []byte { return bytes.Repeat([]byte{b}, size) }
		require.NoError(t, s.Set([]byte("k"), value('a')))
		runs := 0
		require.NoError(t, s.Compute([]byte("k"), func(old []byte, exists bool) ([]byte, shm.Action, error) {
			was := bytes.Clone(old)
			if runs++; runs == 1 {
				for i := range byte(100) {
					require.NoError(t, other.Set([]byte("k"), value(i)))
				}
			}
			require.Equal(t, was, old)
			return append(bytes.Clone(old), '!'), shm.ActionSet, nil
		}))
		require.Equal(t, 2, runs)
		require.Equal(t, string(value(99))+"!", get(t, other, "k"))
	}
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
		procs, err := other.Inspect().Processes()
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

// Each decision of a function of Compute, and those that change nothing.
func TestCompute(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		key := []byte("k")
		decide := func(value string, do shm.Action) func([]byte, bool) ([]byte, shm.Action, error) {
			return func([]byte, bool) ([]byte, shm.Action, error) { return []byte(value), do, nil }
		}
		for i, c := range []struct {
			value   string
			do      shm.Action
			want    string // or "-" for absent
			commits uint64
		}{
			{"ignored", shm.ActionKeep, "-", 0},
			{"ignored", shm.ActionDelete, "-", 0},
			{"1", shm.ActionSet, "1", 1},
			{"1", shm.ActionSet, "1", 0},
			{"ignored", shm.ActionKeep, "1", 0},
			{"", shm.ActionSet, "", 1},
			{"2", shm.ActionSet, "2", 1},
			{"ignored", shm.ActionDelete, "-", 1},
		} {
			version := s.Version()
			require.NoError(t, s.Compute(key, decide(c.value, c.do)))
			require.Equal(t, version+c.commits, other.Version(), "step %d", i)
			got, err := other.Get(key)
			if c.want == "-" {
				require.ErrorIs(t, err, shm.ErrNotFound, "step %d", i)
			} else {
				require.NoError(t, err)
				require.Equal(t, c.want, string(got), "step %d", i)
			}
		}
		version := s.Version()
		require.ErrorContains(t, s.Compute(key, decide("", 3)), "the action 3")
		require.ErrorIs(t, s.Compute(key, decide(string(make([]byte, 16<<20)), shm.ActionSet)), shm.ErrTooLarge)
		require.Equal(t, version, s.Version())
	})
}

// An error of the function comes back as it is, also one that Compute makes of other
// reasons, and is not tried again.
func TestComputeFails(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		set(t, s, "k", "v")
		version := s.Version()
		for _, want := range []error{errors.New("enough"), shm.ErrFull, shm.ErrNotFound, shm.ErrConflict} {
			runs := 0
			err := s.Compute([]byte("k"), func([]byte, bool) ([]byte, shm.Action, error) {
				runs++
				return nil, shm.ActionDelete, want
			})
			require.Equal(t, want, err)
			require.Equal(t, 1, runs)
		}
		require.Equal(t, "v", get(t, other, "k"))
		require.Equal(t, version, s.Version())
	})
}

func TestAdd(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		key := []byte("n")
		for _, c := range []struct{ n, sum int64 }{{5, 5}, {-7, -2}, {0, -2}, {math.MaxInt64, math.MaxInt64 - 2}, {2, math.MaxInt64}} {
			sum, err := other.Add(key, c.n)
			require.NoError(t, err)
			require.Equal(t, c.sum, sum)
			require.Equal(t, fmt.Sprint(c.sum), get(t, s, "n"))
		}
		version := s.Version()
		sum, err := s.Add(key, 1)
		require.ErrorIs(t, err, shm.ErrRange)
		require.ErrorContains(t, err, s.Path())
		require.Zero(t, sum)
		set(t, s, "low", fmt.Sprint(math.MinInt64))
		_, err = s.Add([]byte("low"), -1)
		require.ErrorIs(t, err, shm.ErrRange)
		for _, value := range []string{"", "x", "1.5", "9223372036854775808", "1\n", " 1"} {
			set(t, s, "other", value)
			_, err = s.Add([]byte("other"), 1)
			require.ErrorIs(t, err, shm.ErrNotNumber, "%q", value)
			require.Equal(t, value, get(t, s, "other"))
		}
		require.Equal(t, version+7, s.Version(), "what failed has written nothing")
	})
}

// Additions by several goroutines and handles are all there in the end.
func TestAddLosesNothing(t *testing.T) {
	crowd(t, 2, func(t *testing.T, all []*shm.Store) {
		const adders, each = 8, 100
		goAllHandles(all, adders, func(s *shm.Store) {
			for range each {
				if _, err := s.Add([]byte("n"), 3); err != nil {
					t.Error(err)
				}
			}
		})
		require.Equal(t, fmt.Sprint(3*adders*each), get(t, all[0], "n"))
	})
}

// goAllHandles runs fn in n goroutines, which take turns with the handles, and waits for
// all.
func goAllHandles(all []*shm.Store, n int, fn func(*shm.Store)) {
	var wg sync.WaitGroup
	for g := range n {
		wg.Go(func() { fn(all[g%len(all)]) })
	}
	wg.Wait()
}
