//go:build shmhook

package shm

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/alloc/layout"
	"github.com/seed-869cc763/shmkv/alloc/region"
)

// A transaction whose pin is erased, by a process that can write procs, does no
// damage to the data, wherever that happens: others commit and reclaim, and reuse
// what it reads and what it marks as superseded.
func TestErasedPin(t *testing.T) {
	t.Parallel()
	base, err := alloc.NewHeap(2 << 20)
	require.NoError(t, err)
	base.SetEager()
	first, _ := attachPlain(t, base)
	filled(20, 8)(t, base, first)
	require.NoError(t, first.Close())
	for name, write := range map[string]func(s *Store) error{
		"set":    func(s *Store) error { return s.Set([]byte("key001"), []byte("1")) },
		"delete": func(s *Store) error { _, err := s.Delete([]byte("key002")); return err },
		"update": func(s *Store) error {
			return s.Update(func(tx *Tx) error {
				v, err := tx.Get([]byte("key003"))
				if err != nil {
					return nil // gone, or what was read is not there any more
				}
				_, _ = tx.Delete([]byte("key004"))
				return tx.Set([]byte("copy"), v)
			})
		},
	} {
		tried := 0
		for at := 0; ; at++ {
			h := base.Clone()
			s, hook := hookedStore(t, h)
			other, _ := attachPlain(t, h)
			require.NoError(t, s.Set([]byte("own"), nil)) // so that it has a slot
			require.NoError(t, other.Set([]byte("own"), []byte("x")))
			accesses, erased := 0, false
			*hook = func(region.Op, uint64) {
				if accesses++; accesses != at+1 {
					return
				}
				erased = true
				h.ErasePins()
				for i := range 40 { // leaves as large as a root node, and larger ones
					require.NoError(t, other.Set(fmt.Appendf(nil, "key%03d", i%20), Fresh(40+i%3*100)))
				}
			}
			_ = write(s) // it may be refused
			*hook = nil
			rep, err := other.Check(t.Context(), nil)
			require.NoError(t, err, "%s, erased before access %d: %+v", name, at, rep)
			for range 100 { // so that what was damaged is used
				require.NoError(t, other.Set([]byte("more"), Fresh(40)))
			}
			checkSound(t, other)
			require.NoError(t, s.Close())
			require.NoError(t, other.Close())
			if !erased {
				break
			}
			tried++
		}
		require.Greater(t, tried, 40, name)
	}
}

// The same at the three accesses that matter most, the intent, the look at the root
// word and the mark, with any number of commits of others: the old root's block is
// now free, now a leaf, now a root.
func TestErasedPinBesideTheMark(t *testing.T) {
	t.Parallel()
	for n := range 40 {
		for _, at := range []string{"intent", "look", "mark"} {
			h, err := alloc.NewHeap(2 << 20)
			require.NoError(t, err)
			h.SetEager()
			s, hook := hookedStore(t, h)
			other, _ := attachPlain(t, h)
			filled(20, 8)(t, h, other)
			require.NoError(t, s.Set([]byte("own"), nil))
			sn, err := other.Snapshot()
			require.NoError(t, err)
			mark := sn.pin.Off + layout.RootSuperseded
			require.NoError(t, sn.Close())
			now, erased := "", false
			*hook = func(op region.Op, off uint64) {
				switch {
				case now == "look" && off == mark:
					now = "mark"
				case now == "intent" && off == layout.OffRoot:
					now = "look"
				case op == region.OpStore && inPages(off) && off != mark && off%4096 == layout.SlotIntent:
					now = "intent"
				}
				if erased || now != at {
					return
				}
				erased = true
				h.ErasePins()
				for i := range 10 * n {
					require.NoError(t, other.Set(fmt.Appendf(nil, "key%03d", i), Fresh(40)))
				}
			}
			require.NoError(t, s.Set([]byte("key001"), []byte("1")))
			require.True(t, erased)
			checkSound(t, other)
		}
	}
}
