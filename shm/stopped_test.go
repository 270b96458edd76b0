//go:build shmhook

package shm

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/alloc/region"
)

// A process that is stopped in the middle of a write of one key holds the two root nodes
// that its intent names, at most, and what it has allocated. One that is stopped in an
// Update holds what its version holds, and nothing that was born later.
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

	set := func(s *Store) error { return s.Set([]byte("key001"), []byte("other")) }
	most := int64(0)
	for n := 1; ; n += 3 {
		retired, _, ended := held(n, set)
		if ended {
			t.Logf("a set makes about %d accesses", n)
			break
		}
		most = max(most, retired)
	}
	t.Logf("stopped in a set: at most %d bytes", most)
	// Each path of another writer is retired and waits for its next pass.
	const onePath = 3 * 700
	require.LessOrEqual(t, most, int64(onePath))

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
