package shm_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/shm"
)

// manyViews runs n Views at the same time, each in a goroutine of its own, and calls
// meanwhile when all are inside. At the end all must still see what they saw first.
func manyViews(t *testing.T, s *shm.Store, n int, begun func(i int), meanwhile func()) {
	t.Helper()
	var inside, outside sync.WaitGroup
	leave := make(chan struct{})
	errs := make([]error, n)
	for i := range n {
		begun(i)
		inside.Add(1)
		outside.Go(func() {
			once := sync.OnceFunc(inside.Done)
			defer once()
			errs[i] = s.View(func(sn *shm.Snapshot) error {
				first, err := sn.Get([]byte("k"))
				if err != nil {
					return err
				}
				was := string(first)
				once()
				<-leave
				again, err := sn.Get([]byte("k"))
				if string(first) != was || string(again) != was {
					return fmt.Errorf("a View of %q sees %q and %q later", was, first, again)
				}
				return err
			})
		})
	}
	inside.Wait()
	meanwhile()
	close(leave)
	outside.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
}

// allPinsAreFree requires that a handle can have all pins.
func allPinsAreFree(t *testing.T, s *shm.Store) {
	t.Helper()
	var all []*shm.Snapshot
	for i := range shm.MaxSnapshots {
		set(t, s, "k", fmt.Sprint("pin ", i))
		sn, err := s.Snapshot()
		require.NoError(t, err)
		all = append(all, sn)
	}
	same, err := s.Snapshot()
	require.NoError(t, err, "of the same version as the last")
	all = append(all, same)
	set(t, s, "k", "v")
	_, err = s.Snapshot()
	require.ErrorIs(t, err, shm.ErrTooManySnapshots)
	err = s.View(func(*shm.Snapshot) error { return nil })
	require.ErrorIs(t, err, shm.ErrTooManySnapshots)
	require.Equal(t, "v", get(t, s, "k"))
	for _, sn := range all {
		require.NoError(t, sn.Close())
	}
}

// A handle whose Views have ended has no pin, however many there were at one time.
func TestIdleHandlesKeepNoPins(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		set(t, s, "k", "v")
		manyViews(t, s, 100, func(i int) { set(t, other, "k", fmt.Sprint(i)) }, func() { overwrite(t, other) })
		allPinsAreFree(t, other)
	})
}

// More Views of a version can be open at one time than there are pins.
func TestMoreViewsThanPins(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		set(t, s, "k", "v")
		manyViews(t, s, shm.MaxSnapshots+100, func(int) {}, func() {
			overwrite(t, other)
			sn, err := other.Snapshot()
			require.ErrorIs(t, err, shm.ErrTooManySnapshots)
			require.Nil(t, sn)
			require.Equal(t, "v", get(t, other, "k"))
		})
		allPinsAreFree(t, other)
	})
}

// Views may be nested, each on a version of its own.
func TestNestedViews(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		var nest func(depth int) error
		nest = func(depth int) error {
			set(t, other, "k", fmt.Sprint(depth))
			return s.View(func(sn *shm.Snapshot) error {
				if depth == 20 {
					overwrite(t, other)
				} else if err := nest(depth + 1); err != nil {
					return err
				}
				v, err := sn.Get([]byte("k"))
				require.NoError(t, err)
				require.Equal(t, fmt.Sprint(depth), string(v))
				return nil
			})
		}
		require.NoError(t, nest(0))
		allPinsAreFree(t, other)
	})
}

// The snapshot of a View is closed for ever when the View has ended.
func TestViewsSnapshotKeptIsClosed(t *testing.T) {
	twoHandles(t, func(t *testing.T, s, other *shm.Store) {
		var kept []*shm.Snapshot
		for range 100 {
			require.NoError(t, s.View(func(sn *shm.Snapshot) error { kept = append(kept, sn); return nil }))
		}
		check := func(sn *shm.Snapshot) {
			_, err := sn.Get(numbered(7))
			require.ErrorIs(t, err, shm.ErrClosed)
			_, err = sn.Has(numbered(7))
			require.ErrorIs(t, err, shm.ErrClosed)
			require.Zero(t, sn.Len())
			for range sn.All() {
				require.Fail(t, "a View that has ended has entries")
			}
			require.ErrorIs(t, sn.Err(), shm.ErrClosed)
			require.NoError(t, sn.Close())
		}
		require.NoError(t, s.View(func(sn *shm.Snapshot) error {
			for _, old := range kept {
				check(old)
			}
			v, err := sn.Get(numbered(7))
			require.NoError(t, err)
			require.Equal(t, "value 7", string(v))
			require.NoError(t, sn.Close())
			_, err = sn.Get(numbered(7))
			require.ErrorIs(t, err, shm.ErrClosed)
			return nil
		}))
		allPinsAreFree(t, other)
		require.NoError(t, s.Close())
		for _, old := range kept {
			check(old)
		}
	})
}

// What a snapshot has shown stays while a loop over it is under way, also in a View
// that has ended.
func TestLoopOutlivesItsView(t *testing.T) {
	twoHandles(t, func(t *testing.T, s, other *shm.Store) {
		err := s.View(func(sn *shm.Snapshot) error {
			for key, value := range sn.All() {
				require.NoError(t, sn.Close())
				overwrite(t, other)
				require.Equal(t, "value "+string(key[len("key "):]), string(value))
			}
			return sn.Err()
		})
		require.ErrorIs(t, err, shm.ErrClosed)
		allPinsAreFree(t, other)
	})
}

// A View that lasts is seen with the time at which it began.
func TestPinOfAView(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		require.NoError(t, s.View(func(sn *shm.Snapshot) error {
			all, err := other.Inspect().Processes()
			require.NoError(t, err)
			i := slices.IndexFunc(all, func(p shm.Process) bool { return !p.Self })
			require.Len(t, all[i].Pins, 1)
			pin := all[i].Pins[0]
			require.Equal(t, sn.Version(), pin.Version)
			require.False(t, pin.Writer)
			require.WithinRange(t, pin.Since, all[i].Started, time.Now())
			return nil
		}))
	})
}

// Goroutines of one handle, which share pins and take each other's, see whole
// transactions beside a writer.
func TestPinsOfManyGoroutines(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		keys := [][]byte{[]byte("a"), []byte("b")}
		write := func(i int) error {
			return other.Update(func(tx *shm.Tx) error {
				for _, k := range keys {
					if err := tx.Set(k, fmt.Append(nil, i)); err != nil {
						return err
					}
				}
				return nil
			})
		}
		require.NoError(t, write(0))
		same := func(sn *shm.Snapshot) error {
			a, err := sn.Get(keys[0])
			if err != nil {
				return err
			}
			b, err := sn.Get(keys[1])
			if err == nil && string(a) != string(b) {
				err = fmt.Errorf("a snapshot has %q and %q, expected the same", a, b)
			}
			return err
		}
		var reading sync.WaitGroup
		errs := make([]error, 8)
		for i := range errs {
			reading.Go(func() {
				for range 500 {
					sn, err := s.Snapshot()
					if err == nil {
						err = s.View(func(v *shm.Snapshot) error {
							if err := same(v); err != nil {
								return err
							}
							return same(sn)
						})
					}
					if err == nil {
						err = sn.Close()
					}
					if err != nil {
						errs[i] = err
						return
					}
				}
			})
		}
		done := make(chan struct{})
		go func() { reading.Wait(); close(done) }()
		for i := 1; ; i++ {
			require.NoError(t, write(i))
			select {
			case <-done:
				for _, err := range errs {
					require.NoError(t, err)
				}
				allPinsAreFree(t, other)
				return
			default:
			}
		}
	})
}
