//go:build shmhook

package shm

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/alloc/layout"
	"github.com/seed-869cc763/shmkv/alloc/region"
	"github.com/seed-869cc763/shmkv/internal/testdir"
)

// A busy store has writers that do something every so many accesses of a handle
// that looks at it, which no processor makes them do: most of what a pass has read of
// lists has moved before the pass ends.
func busyStore(t testing.TB, h *alloc.Heap, every int) (hook func(region.Op, uint64), s *Store) {
	s, _ = attachPlain(t, h)
	filled(60, 20)(t, h, s)
	other, _ := attachPlain(t, h)
	rng := rand.New(rand.NewPCG(1, uint64(every)))
	var sn *Snapshot
	accesses, within := 0, false
	return func(region.Op, uint64) {
		if accesses++; within || accesses%every != 0 {
			return
		}
		within = true
		defer func() { within = false }()
		w := []*Store{s, other}[rng.IntN(2)]
		key := fmt.Appendf(nil, "key%03d", rng.IntN(3))
		switch rng.IntN(12) {
		default:
			require.NoError(t, w.Set(key, Fresh(20)))
		case 0:
			_, err := w.Delete(key)
			require.NoError(t, err)
		case 1:
			_ = w.Update(func(tx *Tx) error {
				_ = tx.Set(key, make([]byte, 30))
				return errors.New("no")
			})
		case 2:
			if sn != nil {
				require.NoError(t, sn.Close())
			}
			var err error
			sn, err = w.Snapshot()
			require.NoError(t, err)
		}
	}, s
}

// checked is what Check says, with the first problems.
func checked(t testing.TB, s *Store, o *CheckOptions) error {
	rep, err := s.Check(t.Context(), o)
	if err != nil && rep != nil {
		return fmt.Errorf("%w\n  %s", err, strings.Join(rep.Problems[:min(len(rep.Problems), 5)], "\n  "))
	}
	return err
}

// A sound store is sound, whatever writers do beside Check. Without a pin it may say
// that they were too fast.
func TestOvertakenCheck(t *testing.T) {
	t.Parallel()
	for _, pinned := range []bool{true, false} {
		for _, every := range []int{20, 50, 100, 200, 500, 1000} {
			for _, eager := range []bool{true, false} {
				t.Run(fmt.Sprintf("pinned %v, every %d accesses, eager %v", pinned, every, eager), func(t *testing.T) {
					t.Parallel()
					h, err := alloc.NewHeap(8 << 20)
					require.NoError(t, err)
					if eager {
						h.SetEager()
					}
					hook, s := busyStore(t, h, every)
					var a *alloc.Arena
					if pinned {
						a, _, err = h.Attach(hook)
					} else {
						a, err = h.AttachReadOnly(hook)
					}
					require.NoError(t, err)
					checker := newStore(a, "heap")
					checks, tooFast := 50, 0
					if !pinned {
						checks = testdir.Scale(5, 10)
					}
					for range checks {
						err := checked(t, checker, nil)
						if !pinned && errors.Is(err, ErrCannotPin) {
							require.ErrorContains(t, err, "too fast")
							tooFast++
						} else {
							require.NoError(t, err)
						}
					}
					t.Logf("%d commits, writers were too fast for %d of %d checks", s.Version(), tooFast, checks)
					require.True(t, every < 1000 || tooFast < checks, "no check ended")
				})
			}
		}
	}
}

// What is really wrong is found beside such writers, too, in blocks that nobody
// writes and among those that they write.
func TestOvertakenCheckFindsFaults(t *testing.T) {
	t.Parallel()
	const shared, owned, free, claimed, chunk = 4, 3, 1, 2, 8 // states of pages, see package alloc
	// pages calls fn for the descriptors of pages in a state, with their classes.
	pages := func(m region.Mem, state uint64, fn func(desc, page, class uint64) (done bool)) bool {
		for page := layout.Segments[0].First; page < min(m.Load(layout.OffEnd), 1<<20); page += 4096 {
			desc := layout.OffTable + 64 + page>>12*64
			if w := m.Load(desc); w&15 == state && fn(desc, page, w>>4&255) {
				return true
			}
		}
		return false
	}
	class := func(size uint64) uint64 { return uint64(layout.ClassOf(size)) }
	setClear := func(m region.Mem, state, class uint64) bool { // sets a clear bit
		return pages(m, state, func(desc, _, c uint64) bool {
			w := m.Load(desc + layout.DescBitmap)
			if c != class || w&15 == 15 {
				return false
			}
			m.Or(desc+layout.DescBitmap, (w+1)&^w)
			return true
		})
	}
	for _, fault := range []struct {
		name string
		seed func(m region.Mem) bool
		says string
	}{
		{"a leak among blocks of another size", func(m region.Mem) bool { return setClear(m, shared, class(1024)) }, "neither free nor in use"},
		{"a leak among blocks that are written", func(m region.Mem) bool {
			return setClear(m, shared, class(24)) || setClear(m, owned, class(24)) || setClear(m, owned, class(layout.RootSize))
		}, "neither free nor in use"},
		{"a live block that is free", func(m region.Mem) bool {
			return pages(m, shared, func(desc, _, c uint64) bool {
				if c != class(1024) {
					return false
				}
				m.And(desc+layout.DescBitmap, ^uint64(1))
				return true
			})
		}, "bit of a live block"},
		{"a page that nobody has", func(m region.Mem) bool {
			return pages(m, free, func(desc, _, _ uint64) bool {
				m.Store(desc, m.Load(desc)&^15|claimed|1<<24)
				return true
			})
		}, "claimed page"},
		{"a block in two lists, and one in none", func(m region.Mem) bool {
			return pages(m, chunk, func(_, page, _ uint64) bool {
				if n := m.Load(page + layout.ChunkCount); n < 2 || n > layout.ChunkCap {
					return false
				}
				m.Store(page+32, m.Load(page+48))
				m.Store(page+40, m.Load(page+56))
				return true
			})
		}, "something else as well|neither free nor in use"}, // one is enough while others write
	} {
		for _, every := range []int{20, 100, 500} {
			t.Run(fmt.Sprintf("%s, every %d accesses", fault.name, every), func(t *testing.T) {
				t.Parallel()
				h, err := alloc.NewHeap(8 << 20)
				require.NoError(t, err)
				h.SetEager()
				first, _ := attachPlain(t, h)
				for i := range 3 {
					require.NoError(t, first.Set(fmt.Appendf(nil, "static%d", i), make([]byte, 1000)))
				}
				filled(60, 20)(t, h, first)
				holder, _ := attachPlain(t, h)
				_, err = holder.Snapshot()
				require.NoError(t, err)
				filled(60, 21)(t, h, first)
				require.NoError(t, first.Close())
				hook, _ := busyStore(t, h, every)
				for range 2000 * every { // so that everything is on the move
					hook(region.OpLoad, 0)
				}
				m := h.Mem()
				require.True(t, fault.seed(m), "there is no place for the fault")
				a, _, err := h.Attach(hook)
				require.NoError(t, err)
				for range 3 {
					err := checked(t, newStore(a, "heap"), nil)
					require.ErrorIs(t, err, ErrCorrupt)
					require.Regexp(t, fault.says, err.Error())
				}
			})
		}
	}
}

// The same happens at the same moment of every pass of Check, so that each pass
// finds the same block in two places or in none: blocks come back last in, first
// out. Every moment of a pass is tried.
func TestCheckOvertakenAlike(t *testing.T) {
	t.Parallel()
	giveUp := errors.New("no")
	set := func(w *Store, key string, size int) error { return w.Set([]byte(key), Fresh(size)) }
	for _, what := range []struct {
		name string
		do   func(w, other *Store, n int) error
	}{
		{"set", func(w, _ *Store, _ int) error { return set(w, "key000", 20) }},
		{"two sets", func(w, _ *Store, _ int) error { return errors.Join(set(w, "key000", 20), set(w, "key000", 20)) }},
		{"set and delete", func(w, _ *Store, n int) error {
			if n%2 == 0 {
				return set(w, "key000", 20)
			}
			_, err := w.Delete([]byte("key000"))
			return err
		}},
		{"large value", func(w, _ *Store, _ int) error { return set(w, "key000", 40_000) }},
		{"two writers", func(w, other *Store, n int) error { return set([]*Store{w, other}[n%2], "key000", 20) }},
		{"given up", func(w, _ *Store, _ int) error {
			err := w.Update(func(tx *Tx) error { return errors.Join(giveUp, tx.Set([]byte("key000"), nil)) })
			if errors.Is(err, giveUp) {
				return nil
			}
			return err
		}},
		{"set beside a snapshot", func(w, other *Store, n int) error {
			return other.View(func(*Snapshot) error { return set(w, "key000", 20) })
		}},
	} {
		t.Run(what.name, func(t *testing.T) {
			t.Parallel()
			h, err := alloc.NewHeap(4 << 20)
			require.NoError(t, err)
			h.SetEager()
			w, _ := attachPlain(t, h)
			filled(60, 20)(t, h, w)
			other, _ := attachPlain(t, h)
			require.NoError(t, other.Set([]byte("key001"), nil))
			access, at, done, within := 0, -1, 0, false
			a, _, err := h.Attach(func(op region.Op, off uint64) {
				if access++; access != at || within {
					return
				}
				within = true
				require.NoError(t, what.do(w, other, done))
				within = false
				done++
			})
			require.NoError(t, err)
			checker := newStore(a, "heap")
			most := 0
			check := func() error {
				return checked(t, checker, &CheckOptions{Progress: func(done, total int64) {
					if done == total {
						most = max(most, access)
						access = 0
					}
				}})
			}
			require.NoError(t, check())
			rng := rand.New(rand.NewPCG(1, 1))
			checks, wrong := 0, 0
			for moment := 1; moment < most; moment += 1 + rng.IntN(1+2*most/700) {
				at, access = moment, 0
				checks++
				if err := check(); err != nil {
					if wrong++; wrong == 1 {
						t.Errorf("access %d of %d: %v", at, most, err)
					}
				}
			}
			t.Logf("%d checks, %d wrong; %d passes were overtaken", checks, wrong, done)
		})
	}
}
