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

// overtake lets other run right before the first n compare-and-swaps of the root that
// the handle makes.
func overtake(hook *func(op region.Op, off uint64), n int, other func(i int)) {
	i := 0
	*hook = func(op region.Op, off uint64) {
		if op == region.OpCAS && off == layout.OffRoot && i < n {
			i++
			other(i - 1)
		}
	}
}

// A group that loses its compare-and-swap to another process is kept, but for the root
// branch, where the other has changed none of the group's children of the root; else
// it is made again, and finds what the other has written. Either way it is one commit.
func TestGroupOvertaken(t *testing.T) {
	side := func(s *Store, i int, same bool) []byte {
		for n := 0; ; n++ {
			key := fmt.Appendf(nil, "side%d", n)
			if h := s.hashOf(key) & 63; (h < 8) == same {
				if i--; i < 0 {
					return key
				}
			}
		}
	}
	for _, lost := range []int{1, 3} {
		for _, same := range []bool{true, false} {
			h, err := alloc.NewHeap(4 << 20)
			require.NoError(t, err)
			other, _ := attachPlain(t, h)
			for i := range 600 {
				require.NoError(t, other.Set(fmt.Append(nil, i), []byte("0")))
			}
			s, hook := hookedStore(t, h)
			var edits []*edit
			for i := range 5 { // below the first eight children
				edits = append(edits, &edit{verb: swap, key: side(other, i, true), value: []byte("group")})
			}
			before := other.Stats()
			overtake(hook, lost, func(i int) {
				if !same {
					require.NoError(t, other.Set(side(other, i, false), []byte("other")))
				} else {
					require.NoError(t, other.Set(edits[i].key, []byte("other")))
				}
			})
			together(s, edits...)
			*hook = nil
			after := other.Stats()
			require.Equal(t, uint64(lost), after.Lost-before.Lost)
			for i, e := range edits {
				require.NoError(t, e.err)
				require.Equal(t, same && i < lost, e.ok, "request %d", i)
				if e.ok {
					require.Equal(t, "other", string(e.was))
				}
				got, err := s.Get(e.key)
				require.NoError(t, err)
				require.Equal(t, "group", string(got))
			}
			if commits := after.Commits - before.Commits - uint64(lost); !same {
				require.Equal(t, uint64(1), commits)
				for i := range lost {
					has, err := s.Has(side(other, i, false))
					require.NoError(t, err)
					require.True(t, has)
				}
			}
			rep, err := other.Check(t.Context(), nil)
			require.NoError(t, err)
			require.Zero(t, rep.LeakedBytes)
			require.Equal(t, int64(other.Len()), rep.Entries)
			require.NoError(t, s.Close())
			require.NoError(t, other.Close())
		}
	}
}

// A request that is queued, and whose caller sleeps, while the leader is about to give up
// the lead is not forgotten.
func TestQueuedAtTheEnd(t *testing.T) {
	h, err := alloc.NewHeap(1 << 20)
	require.NoError(t, err)
	s, hook := hookedStore(t, h)
	l := &s.writers.lanes[0]
	r := s.writers.request(&edit{verb: set, hash: s.hashOf([]byte("late")), key: []byte("late")})
	steps, missed := 0, 0
	for at := 1; ; at++ { // at each step in turn
		steps = 0
		*hook = func(op region.Op, off uint64) {
			if op != region.OpCAS || off != alloc.StepOff {
				return
			}
			if steps++; steps == at {
				r.state.Store(parked)
				r.next = nil
				l.queue.Store(r)
				if !l.led.Load() { // so that the caller would not have slept
					r.state.Store(waiting)
				}
			}
		}
		require.NoError(t, s.Set([]byte("key"), nil))
		*hook = nil
		if steps < at {
			break
		}
		require.False(t, l.led.Load())
		switch r.state.Load() {
		case parked:
			t.Fatalf("a request that was queued at step %d sleeps for ever", at)
		case waiting: // it leads now
			missed++
			require.True(t, l.lead())
			u, _ := s.a.Enter()
			s.lead(l, nil, r)
			s.a.Leave(u)
		}
		require.Equal(t, done, r.state.Load())
		for len(r.wake) > 0 {
			<-r.wake
		}
	}
	require.GreaterOrEqual(t, steps, 3)
	require.Positive(t, missed)
	require.NoError(t, s.Close())
}
