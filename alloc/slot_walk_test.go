package alloc

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/alloc/layout"
	"github.com/seed-869cc763/shmkv/alloc/region"
)

// The ledger and the adopter of a slot find the same damage in its lists.
func TestDamageToLists(t *testing.T) {
	for _, damage := range []struct {
		says string
		seed func(m *region.Mem, slot uint64)
	}{
		{"block in a list", func(m *region.Mem, slot uint64) { m.SetWord(slot+layout.SlotIntent, slot) }},
		{"items of a log", func(m *region.Mem, slot uint64) { m.SetWord(slot+layout.SlotLogTop, slot+400) }},
		{"page of a log", func(m *region.Mem, slot uint64) { m.SetWord(slot+layout.SlotLogTop, slot-layout.PageSize) }},
		{"block in a list", func(m *region.Mem, slot uint64) {
			m.SetWord(slot+layout.SlotLog, uint64(layout.MakeItem(slot, 3)))
			m.SetWord(slot+layout.SlotLogTop, slot+1)
		}},
		{"position in a queue", func(m *region.Mem, slot uint64) {
			m.SetWord(slot+layout.SlotQueueTail, m.Word(slot+layout.SlotQueueTail)|0xfff)
		}},
		{"head of a queue", func(m *region.Mem, slot uint64) {
			m.SetWord(slot+layout.SlotQueueHead, m.Word(slot+layout.SlotQueueTail)+1)
		}},
		{"page of a queue", func(m *region.Mem, slot uint64) { m.SetWord(slot+layout.SlotQueueHead, slot) }},
		{"page of a queue", func(m *region.Mem, slot uint64) {
			m.SetWord(layout.PageOf(m.Word(slot+layout.SlotQueueHead)), slot+8)
			m.SetWord(slot+layout.SlotQueueTail, slot)
		}},
		{"deferred page", func(m *region.Mem, slot uint64) { m.SetWord(slot+layout.SlotLook, 8) }},
		{"items of a deferred page", func(m *region.Mem, slot uint64) {
			p := layout.PageOf(m.Word(slot + layout.SlotQueueHead))
			m.SetWord(p+layout.ChunkCount, layout.ChunkCap+1)
			m.SetWord(slot+layout.SlotDeferred, p)
			m.SetWord(slot+layout.SlotQueueHead, 0)
			m.SetWord(slot+layout.SlotQueueTail, 0)
		}},
		{"slab of a slot", func(m *region.Mem, slot uint64) { m.SetWord(slot+layout.SlotSlabs, 8) }},
		{"length of a magazine", func(m *region.Mem, slot uint64) {
			at := slot + layout.SlotMags + uint64(layout.ClassOf(layout.RootSize))*8
			m.SetWord(m.Word(at)+8, m.Word(at))
		}},
	} {
		t.Run(damage.says, func(t *testing.T) {
			h, err := NewHeap(layout.MinSize)
			require.NoError(t, err)
			a, die, err := h.Attach(nil)
			require.NoError(t, err)
			commit(t, a)
			s, err := a.Slot(Brief)
			require.NoError(t, err)
			require.NotZero(t, s.mags[layout.ClassOf(layout.RootSize)])
			a.Release(s)
			m := h.Mem()
			damage.seed(&m, s.base)

			ledger, err := a.Ledger(context.Background(), func(Root, func(off, size uint64) error) error { return nil }, nil)
			require.NoError(t, err)
			require.Contains(t, fmt.Sprint(ledger.Problems), damage.says)
			die()
			_, _, err = h.Attach(nil)
			require.ErrorIs(t, err, region.ErrCorrupt)
			require.Contains(t, err.Error(), damage.says)
		})
	}
}

// A list that leads back to where it was is found out soon, and no other is.
func TestRing(t *testing.T) {
	for straight := range uint64(40) {
		for length := range uint64(40) {
			var r ring
			next, n := uint64(0), uint64(0)
			for ; n < 1000 && !r.closes(next); n++ {
				if next++; next == straight+length && length > 0 {
					next = straight
				}
			}
			if length == 0 {
				require.Equal(t, uint64(1000), n)
			} else {
				require.LessOrEqual(t, n, 3*(straight+length))
			}
		}
	}
}
