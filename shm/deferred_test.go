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

// A pass looks through the slot's deferred pages whose pins are gone. What it finds
// there may fill up another page of the slot, which is shared then: it is anybody's, and
// the pass must not look through it as its own.
func TestDeferredPageSharedInItsPass(t *testing.T) {
	t.Parallel()
	h, err := alloc.NewHeap(16 << 20)
	require.NoError(t, err)
	h.SetEager()
	m := h.Mem()
	other, _ := attachPlain(t, h)
	shared := func() {}
	slot := uint64(0)
	s, _ := attachPlain(t, h)
	s.a.SetHook(func(op region.Op, off uint64) {
		if slot != 0 && op == region.OpWrite && off >= slot+layout.SlotDeferred && off < slot+layout.SlotDeferred+8*8 && m.Load(off) != 0 {
			shared()
		}
	})
	sets := 0
	set := func(kind string, from, to int) {
		for i := from; i < to; i++ {
			sets++
			require.NoError(t, s.Set(fmt.Appendf(nil, "%s%03d", kind, i), fmt.Appendf(nil, "%100d", sets)))
		}
	}
	pin := func() *Snapshot {
		sn, err := other.Snapshot()
		require.NoError(t, err)
		return sn
	}
	slot = m.Load(layout.OffDir)
	for i := uint64(1); slot == 0; i++ {
		set("first", 0, 1)
		slot = m.Load(layout.OffDir)
	}
	count := func(place uint64) uint64 {
		if p := m.Load(slot + layout.SlotDeferred + place*8); p != 0 {
			return m.Load(p + layout.ChunkCount)
		}
		return 0
	}

	// A pass goes through the places in their order, and what is new takes the last
	// free one. So that what fills up lies behind what is looked through, and its
	// successor behind that, some pins take places and leave them.
	set("a", 0, 1)
	set("b", 0, 200)
	var pins [5]*Snapshot
	add := func(n int) {
		pins[n] = pin()
		set("a", 0, 1)
	}
	add(0)
	add(1)
	add(2)
	require.NoError(t, pins[0].Close())
	require.NoError(t, pins[1].Close())
	set("a", 0, 1)
	add(3)
	set("c", 0, 250)
	add(4)
	require.NoError(t, pins[3].Close())
	set("a", 0, 1)
	for i := 0; count(6) < layout.ChunkCap-20; i++ {
		require.Less(t, i, 250)
		set("c", i, i+1)
	}
	for i, before := 0, count(5); count(5) < before+40; i++ {
		require.Less(t, i, 200)
		set("b", i, i+1)
	}
	require.Less(t, count(6), uint64(layout.ChunkCap), "room for some more, but not for all")
	require.Zero(t, count(7))

	taken := false
	require.NoError(t, pins[2].Close())
	shared = func() {
		if taken || count(5) != 0 {
			return
		}
		taken = true
		require.NoError(t, pins[4].Close())
		c := compactor{s: other, ctx: t.Context(), opts: &CompactOptions{}}
		require.NoError(t, c.shrink())
		for i := range 100 { // so that the page is of use elsewhere
			require.NoError(t, other.Set(fmt.Appendf(nil, "large%d", i), make([]byte, 40<<10)))
		}
	}
	set("d", 0, 1)
	require.True(t, taken)
	checkSound(t, s)
	set("d", 0, 300)
	checkSound(t, s)
}
