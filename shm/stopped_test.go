//go:build shmhook

package shm

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/alloc/region"
)

// A process that is stopped in the middle of a write of one key, or in UpdateUnpinned, holds
// the two root nodes that its intent names, at most, and what it has allocated. One that is
// stopped in an Update holds what its version holds, and nothing that was born later.
func TestStoppedWriterHoldsLittle(t *testing.T) {
	t.Parallel()
	base, err := alloc.NewHeap(4 << 20)
	require.NoError(t, err)
	base.SetEager()
	first, _ := attachPlain(t, base)
	filled(300, 100)(t, base, first)
	require.NoError(t, first.Close())

	// held stops a writer at its n-th access, and returns what is retired and not
	// reclaimed once all of the store was replaced many times.
	held := func(n int, write func(s *Store) error) (retired, live int64, ended bool) {
		h := base.Clone()
		stopped, done, never := make(chan struct{}), make(chan struct{}), make(chan struct{})
		accesses, on := 0, false
		a, _, err := h.Attach(func(region.Op, uint64) {
			if !on {
				return
			}
			if accesses++; accesses == n {
				close(stopped)
				<-never
			}
		})
		require.NoError(t, err)
		s := newStore(a, "heap")
		require.NoError(t, s.Set([]byte("key000"), []byte("x"))) // it has a slot
		on = true
		go func() {
			_ = write(s)
			close(done)
		}()
		select {
		case <-stopped:
		case <-done:
			return 0, 0, true
		}
		other, _ := attachPlain(t, h)
		for generation := range byte(3) {
			refilled(300, 100, generation+1)(t, h, other)
		}
		rep, err := other.Check(t.Context(), nil)
		require.NoError(t, err)
		return rep.RetiredBytes, rep.LiveBytes, false
	}

	// Each path of another writer is retired and waits for its next pass.
	const onePath = 3 * 700
	for what, write := range map[string]func(s *Store) error{
		"a set": func(s *Store) error { return s.Set([]byte("key001"), []byte("other")) },
		"a Compute": func(s *Store) error {
			return s.Compute([]byte("key001"), func(old []byte, exists bool) ([]byte, Action, error) {
				return append(slices.Clone(old), "more"...), ActionSet, nil
			})
		},
		"an UpdateUnpinned": func(s *Store) error {
			return s.UpdateUnpinned(func(tx *Tx) error {
				for key := range tx.All() {
					if _, err := tx.Delete(key); err != nil {
						return err
					}
					break
				}
				return nil
			})
		},
	} {
		most := int64(0)
		for n := 1; ; n += 3 {
			retired, _, ended := held(n, write)
			if ended {
				t.Logf("%s makes about %d accesses", what, n)
				break
			}
			most = max(most, retired)
		}
		t.Logf("stopped in %s: at most %d bytes", what, most)
		require.LessOrEqual(t, most, int64(onePath), what)
	}

	update := func(s *Store) error {
		return s.Update(func(tx *Tx) error {
			for i := range 20 {
				if err := tx.Set(fmt.Appendf(nil, "key%03d", i), []byte("other")); err != nil {
					return err
				}
			}
			return nil
		})
	}
	retired, live, ended := held(200, update)
	require.False(t, ended)
	t.Logf("stopped in an Update: %d bytes, %d are live", retired, live)
	require.Greater(t, retired, live/2)
	require.LessOrEqual(t, retired, live+onePath)
}
