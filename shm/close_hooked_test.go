//go:build shmhook

package shm

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/alloc/layout"
	"github.com/seed-869cc763/shmkv/alloc/region"
)

// hookedStore attaches a handle to a store on the Go heap. hook runs before each of
// its accesses, once it is set.
func hookedStore(t testing.TB, h *alloc.Heap) (s *Store, hook *func(op region.Op, off uint64)) {
	hook = new(func(region.Op, uint64))
	a, _, err := h.Attach(func(op region.Op, off uint64) {
		if *hook != nil {
			(*hook)(op, off)
		}
	})
	require.NoError(t, err)
	return newStore(a, "heap"), hook
}

// A claim of a slot that fails while the handle is closed does not keep the handle.
func TestFailedClaimBesideClose(t *testing.T) {
	h, err := alloc.NewHeap(4 << 20)
	require.NoError(t, err)
	watch, _ := attachPlain(t, h)
	h.SetLimit(h.BackedBytes()) // no page is left for another slot
	for err := error(nil); err == nil; {
		err = watch.Set([]byte("k"), make([]byte, 3000))
	}
	require.NoError(t, watch.Update(func(*Tx) error { // so that its slot is not idle
		before := h.Attached()
		s, hook := hookedStore(t, h)
		*hook = func(op region.Op, off uint64) {
			if op == region.OpCAS && owners(nil, 0, off) {
				*hook = nil
				require.NoError(t, s.Close())
			}
		}
		require.Error(t, s.Set([]byte("k"), nil))
		require.Nil(t, *hook)
		require.True(t, s.a.Closed())
		require.Equal(t, before, h.Attached())
		return nil
	}))
	require.NoError(t, watch.Close())
}

// All Closes of a handle return when it is closed, not only the first.
func TestSecondCloseWaits(t *testing.T) {
	h, err := alloc.NewHeap(1 << 20)
	require.NoError(t, err)
	s, hook := hookedStore(t, h)
	require.NoError(t, s.Set([]byte("k"), nil))
	second := make(chan struct{}) // closed when the second has returned
	var failed error
	accesses := 0
	*hook = func(region.Op, uint64) {
		if accesses++; accesses == 10 { // in the middle of the first
			go func() { failed = s.Close(); close(second) }()
			select {
			case <-second:
				t.Error("the second Close returns before the first")
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	require.NoError(t, s.Close())
	require.Greater(t, accesses, 10)
	<-second
	require.NoError(t, failed)
}

// fault is a touch of memory that is not there, as the runtime reports it to who
// has asked for that.
type fault struct{ error }

func (fault) Addr() uintptr { return 0 }

// An optimistic read is not ended by a fault if the first holes are made before it
// has found its root, read the end, and looked whether there may be holes.
func TestReadsBesideTheFirstHole(t *testing.T) {
	base, err := alloc.NewHeap(4 << 20)
	require.NoError(t, err)
	base.SetEager()
	writer, _ := attachPlain(t, base)
	for i := range 300 {
		require.NoError(t, writer.Set(fmt.Appendf(nil, "key%d", i), make([]byte, 3000)))
	}
	require.NoError(t, writer.Close())
	reads := map[string]func(s *Store) error{
		"Len":   func(s *Store) error { s.Len(); return nil },
		"Stats": func(s *Store) error { s.Stats(); return nil },
	}
	for i := 7; i < 300; i += 48 { // the leaves are in many pages
		key := fmt.Appendf(nil, "key%d", i)
		reads[fmt.Sprint("Get ", i)] = func(s *Store) error { _, err := s.Get(key); return err }
		reads[fmt.Sprint("Append ", i)] = func(s *Store) error { _, err := s.Append(make([]byte, 0, 5000), key); return err }
		reads[fmt.Sprint("Has ", i)] = func(s *Store) error { _, err := s.Has(key); return err }
	}
	for name, read := range reads {
		tried := 0
		for at := 0; ; at++ {
			h := base.Clone()
			writer, _ := attachPlain(t, h)
			s, hook := hookedStore(t, h)
			accesses, looked, glanced, punched := 0, false, false, false
			*hook = func(op region.Op, off uint64) {
				if off&alloc.ProcsBit != 0 {
					return
				}
				if accesses == at && !(looked && glanced) { // right before this access
					punched = true
					punchMost(t, writer)
				}
				accesses++
				looked = looked || off == layout.OffPunched
				glanced = glanced || off == layout.OffEnd
				if !h.Backed(off) {
					panic(fault{})
				}
			}
			err := read(s)
			if err != nil {
				require.ErrorIs(t, err, ErrNotFound, name)
			}
			*hook = nil
			require.NoError(t, s.Close())
			require.NoError(t, writer.Close())
			if !punched {
				break
			}
			tried++
		}
		require.GreaterOrEqual(t, tried, 4, name)
	}
}

// punchMost deletes nearly everything and gives the memory back. It makes few commits, so
// that the block of the root that it replaces is not used again.
func punchMost(t testing.TB, s *Store) {
	require.NoError(t, s.Update(func(tx *Tx) error {
		for i := range 299 {
			if _, err := tx.Delete(fmt.Appendf(nil, "key%d", i)); err != nil {
				return err
			}
		}
		return nil
	}))
	_, err := s.Compact(t.Context(), nil)
	require.NoError(t, err)
	require.True(t, s.a.Punched())
}
