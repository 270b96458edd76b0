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

// A searcher that finds no free page takes the hint down and looks again. Pages that
// were freed just before are hidden from then on: not from a writer that would say
// that the store is full, while the searcher is stopped there, and not from anybody
// once it is dead.
func TestHintsTakenDown(t *testing.T) {
	t.Parallel()
	for _, fate := range []fate{stop, die} {
		t.Run(string(fate), func(t *testing.T) {
			h, err := alloc.NewHeap(1 << 20)
			require.NoError(t, err)
			giver, _ := attachPlain(t, h)
			for i := range 60 {
				require.NoError(t, giver.Set(fmt.Appendf(nil, "key%03d", i), make([]byte, 9000)))
			}
			fill := func() { // all pages
				for _, size := range []int{3000, 1900, 900, 400, 100, 30} {
					for i := 0; giver.Set(fmt.Appendf(nil, "fill%d/%d", size, i), make([]byte, size)) == nil; i++ {
					}
				}
			}
			m := h.Mem()
			group, segment, bit := uint64(layout.OffTable), uint64(layout.OffSegHints), uint64(1)<<layout.HintHole

			sn, err := giver.Snapshot()
			require.NoError(t, err)
			for i := range 12 {
				_, err = giver.Delete(fmt.Appendf(nil, "key%03d", i))
				require.NoError(t, err)
			}
			fill()
			searcher := &mortal{heap: h, dieAt: -1}
			taken, within := false, false
			a, kill, err := h.Attach(func(op region.Op, off uint64) {
				switch {
				case searcher.dead:
					panic(death{})
				case within || off != group:
				case op == region.OpAnd && !taken && m.Load(group)&bit != 0 && m.Load(group)>>layout.HintFree&1 == 0:
					taken, within = true, true
					require.NoError(t, sn.Close())
					c := compactor{s: giver, ctx: t.Context(), opts: &CompactOptions{}}
					require.NoError(t, c.shrink()) // announces nothing: the hint is up
					within = false
				case taken:
					if fate == stop {
						within = true
						require.Zero(t, m.Load(group)&bit, "the searcher has not taken the hint down")
						require.NoError(t, giver.Set([]byte("more"), make([]byte, 3000)))
						within = false
					}
					searcher.dead = true
					panic(death{})
				}
			})
			require.NoError(t, err)
			// The hint is up, though there is no free page.
			m.Or(group, bit)
			m.Or(segment, bit)
			m.Add(layout.OffHintSeq, 1)
			s := newStore(a, "heap")
			died := searcher.live(func() { _ = s.Set([]byte("large"), make([]byte, 200_000)) })
			require.True(t, died)
			kill()
			heir, _ := attachPlain(t, h)
			require.Empty(t, heir.a.Hidden())
			require.NoError(t, heir.Set([]byte("yet more"), make([]byte, 3000)))
			checkSound(t, heir)
		})
	}
}
