//go:build shmhook

package shm

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/alloc/layout"
	"github.com/seed-869cc763/shmkv/alloc/region"
)

// accessesOf returns a handle whose accesses to shared memory are noted, and the note.
func accessesOf(t *testing.T, h *alloc.Heap, before func(region.Op, uint64)) (*Store, *[]region.Op) {
	on := false
	var ops []region.Op
	a, _, err := h.Attach(func(op region.Op, off uint64) {
		if on {
			if before != nil {
				before(op, off)
			}
			ops = append(ops, op)
		}
	})
	require.NoError(t, err)
	on = true
	return newStore(a, "heap"), &ops
}

// A ring to which nobody listens is one load. One to which somebody listens is a
// compare-and-swap and a system call, and the next one a load again.
func TestRingCosts(t *testing.T) {
	h, err := alloc.NewHeap(1 << 20)
	require.NoError(t, err)
	s, ops := accessesOf(t, h, nil)
	listener, _ := attachPlain(t, h)
	b := s.Bell(1)
	ring := func() []region.Op {
		*ops = nil
		require.NoError(t, b.Ring())
		return *ops
	}
	require.Equal(t, []region.Op{region.OpLoad}, ring())
	listener.a.Listen(b.n)
	listener.a.Listen(b.n)
	require.Equal(t, []region.Op{region.OpLoad, region.OpCAS, region.OpCall}, ring())
	require.Equal(t, []region.Op{region.OpLoad}, ring())
}

// A process rings a bell and dies before it wakes those who sleep. Another one that rings at
// the same time wakes them.
func TestRingerDiesBeforeItWakes(t *testing.T) {
	h, err := alloc.NewHeap(1 << 20)
	require.NoError(t, err)
	listener, _ := attachPlain(t, h)
	b := listener.Bell(1)
	seen := listener.a.Listen(b.n)
	died := false
	dies := func(op region.Op, _ uint64) {
		if op == region.OpCall && !died {
			died = true
			panic("dead")
		}
	}
	dead, _ := accessesOf(t, h, dies)
	other, ops := accessesOf(t, h, func(op region.Op, off uint64) {
		if op == region.OpCAS && !died {
			require.Equal(t, layout.BellOff(b.n)|alloc.ProcsBit, off)
			require.Panics(t, func() { dead.a.Ring(b.n) })
		}
	})
	require.NoError(t, other.Bell(1).Ring())
	require.True(t, died)
	require.True(t, listener.a.HasRung(b.n, seen))
	require.True(t, slices.Contains(*ops, region.OpCall))
}

// While a handle is asked about, it is closed and another one takes its proc.
func TestSuccessorIsNotTheOwner(t *testing.T) {
	h, err := alloc.NewHeap(1 << 20)
	require.NoError(t, err)
	first, _ := attachPlain(t, h)
	leaver, _ := attachPlain(t, h)
	name, err := leaver.Owner()
	require.NoError(t, err)
	var heir *Store
	asker, _ := accessesOf(t, h, func(op region.Op, _ uint64) {
		if op == region.OpCall && heir == nil {
			require.NoError(t, leaver.Close())
			heir, _ = attachPlain(t, h)
		}
	})
	alive, err := asker.Alive(name)
	require.NoError(t, err)
	require.NotNil(t, heir)
	heirs, err := heir.Owner()
	require.NoError(t, err)
	require.Equal(t, layout.Handle(name).Proc(), layout.Handle(heirs).Proc(), "another one has the proc")
	require.False(t, alive)
	alive, err = first.Alive(heirs)
	require.NoError(t, err)
	require.True(t, alive)
}
