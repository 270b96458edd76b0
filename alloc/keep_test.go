package alloc

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/alloc/layout"
)

// keeping is a handle on a heap, with a slot to keep house with.
type keeping struct {
	*Arena
	t testing.TB
	s *Slot
}

func newKeeping(t testing.TB, h *Heap) keeping {
	a, _, err := h.Attach(nil)
	require.NoError(t, err)
	s, err := a.Slot(Brief)
	require.NoError(t, err)
	t.Cleanup(func() {
		a.Release(s)
		require.NoError(t, a.Close())
	})
	return keeping{a, t, s}
}

// keep calls Keep and returns when it is to be called again.
func (k keeping) keep() time.Duration {
	rest, err := k.s.Keep(0, func() error { return nil }, Mover{})
	require.NoError(k.t, err)
	return rest
}

// free claims pages and frees them.
func (k keeping) free(pages uint64) {
	for ; pages > 0; pages-- {
		p, err := k.s.claimPages(1)
		require.NoError(k.t, err)
		k.s.become(p, 1, layout.PageChunk, 0)
		k.s.endRecord()
		defer k.s.freePages(p, 1, func() {})
	}
}

// later lets so much time pass for the keepers of a store.
func (k keeping) later(d time.Duration) {
	for _, at := range []uint64{layout.OffKeeper, layout.OffIdleSince} {
		if w := k.ro.Load(at); w != 0 {
			k.mem.Store(at, w-uint64(d))
		}
	}
	k.house.turn -= min(k.house.turn, uint64(d))
}

func (k keeping) freePages() int64 {
	_, found := k.Arena.FreePages()
	return found
}

// What was free for a whole period goes back, and what was in use for a moment of it
// does not.
func TestKeepWhatComesAndGoes(t *testing.T) {
	h, err := NewHeap(64 << 20)
	require.NoError(t, err)
	k := newKeeping(t, h)
	k.pace.settle = settleTime
	k.free(1000)
	before := k.freePages()
	require.NotEqual(t, BusyTime, k.keep())
	require.Equal(t, before, k.freePages())

	k.later(settleTime / 2)
	k.mem.Add(layout.OffFreePages, ^uint64(299)) // 300 are in use just now
	require.NotEqual(t, BusyTime, k.keep())
	k.mem.Add(layout.OffFreePages, 300)
	k.later(settleTime / 2)
	require.NotEqual(t, BusyTime, k.keep())
	require.Equal(t, 300+spareFor(0), k.freePages(), "those of the moment, and the spare ones")
	k.later(settleTime)
	require.NotEqual(t, BusyTime, k.keep())
	require.Equal(t, spareFor(0), k.freePages())
	k.later(settleTime)
	require.NotEqual(t, BusyTime, k.keep())
	require.Equal(t, spareFor(0), k.freePages())
}

// One call gives back a bounded number of pages, by a bounded number of calls of the
// file system, long rows first.
func TestKeepIsBounded(t *testing.T) {
	h, err := NewHeap(256 << 20)
	require.NoError(t, err)
	k := newKeeping(t, h)
	k.free(20_000)
	calls := func() uint64 { return k.Counts()[CountPunched] }
	before := k.freePages()
	for n := 1; ; n++ {
		was := calls()
		rest := k.keep()
		require.LessOrEqual(t, calls()-was, uint64(givePages))
		k.later(0)
		if k.pace.settle = settleTime; rest != BusyTime {
			require.Greater(t, n, 20_000/givePages)
			break
		}
		require.Less(t, n, 1000)
	}
	require.Equal(t, int64(before)-spareFor(0), int64(calls()))
	require.Equal(t, spareFor(0), k.freePages())
}

// Pages in rows too short to be worth a call each go back as well, later.
func TestKeepShortRows(t *testing.T) {
	h, err := NewHeap(64 << 20)
	require.NoError(t, err)
	k := newKeeping(t, h)
	var pages []uint64
	for range 4000 {
		p, err := k.s.claimPages(1)
		require.NoError(t, err)
		k.s.become(p, 1, layout.PageChunk, 0)
		k.s.endRecord()
		pages = append(pages, p)
	}
	for i := 0; i < len(pages); i += 2 {
		k.s.freePages(pages[i], 1, func() {})
	}
	n := 1
	for ; k.keep() == BusyTime; n++ {
		k.pace.settle = settleTime
		require.Less(t, n, 1000)
	}
	require.Greater(t, n, 1000/giveCalls)
	require.LessOrEqual(t, k.freePages(), spareFor(0))
}

// One handle keeps house at a time. When it stops, another one goes on; and a turn that
// lasts for longer than any keeper says means that the clock was put back.
func TestKeepersTakeTurns(t *testing.T) {
	h, err := NewHeap(64 << 20)
	require.NoError(t, err)
	first, second := newKeeping(t, h), newKeeping(t, h)
	for _, k := range []keeping{first, second} {
		k.pace.settle = settleTime
	}
	first.free(2000)
	first.keep()
	first.later(settleTime)
	second.house.changed = 0
	require.Equal(t, restTime, first.keep())
	require.Equal(t, spareFor(0), first.freePages())

	first.keep() // which notes how few are free, in case that the next period ends while the pages are freed
	first.free(2000)
	first.keep()
	first.mem.Store(layout.OffIdleLow, uint64(first.freePages()))
	first.mem.Store(layout.OffIdleSince, 1)
	// The turn may have passed on a slow machine, where keeping takes long.
	first.mem.Store(layout.OffKeeper, uint64(time.Now().Add(3*leaseTime/2).UnixNano()))
	second.keep()
	require.Greater(t, first.freePages(), spareFor(0), "it is not the second one's turn")
	first.mem.Store(layout.OffKeeper, uint64(time.Now().UnixNano())-1)
	second.keep()
	require.Equal(t, spareFor(0), first.freePages())

	first.free(2000)
	first.mem.Store(layout.OffKeeper, uint64(time.Now().Add(time.Hour).UnixNano()))
	first.mem.Store(layout.OffIdleLow, 2000)
	first.mem.Store(layout.OffIdleSince, 1)
	first.keep()
	require.Less(t, first.freePages(), int64(100))
}

// A store in which nothing happens any more needs no keeper after a while.
func TestKeeperEnds(t *testing.T) {
	h, err := NewHeap(layout.MinSize)
	require.NoError(t, err)
	k := newKeeping(t, h)
	k.pace.settle = settleTime
	require.Equal(t, restTime, k.keep())
	k.later(settleTime)
	require.Equal(t, restTime, k.keep(), "there were changes")
	k.later(settleTime)
	k.house.changed -= 2 * uint64(settleTime)
	require.Zero(t, k.keep())
	commit(t, k.Arena)
	require.Equal(t, restTime, k.keep())
}
