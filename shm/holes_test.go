package shm

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/alloc"
)

// A reader that is overtaken may be led to any place below the end, where touching
// a hole takes memory, and faults when there is none left. So there are no holes,
// or the store says that there may be.
func TestNoHolesBelowTheEnd(t *testing.T) {
	if testing.Short() {
		t.Skip("left out with the race detector, which sees nothing here")
	}
	for i, sizes := range [][]int{{100}, {3000, 9000}, {40_000, 100_000}, {3000, 9000}, {40_000, 100_000}, {1 << 20}, {100, 7 << 20}} {
		h, err := alloc.NewHeap(256 << 20)
		require.NoError(t, err)
		if i%2 == 1 {
			h.SetLimit(3 << 20) // so that growth is refused
		}
		a, _, err := h.Attach(nil)
		require.NoError(t, err)
		s := newStore(a, "heap")
		backed := func() {
			t.Helper()
			for off := uint64(0); off < s.a.FileBytes() && !s.a.Punched(); off += 4096 {
				require.True(t, h.Backed(off), "a hole at %d of %d, with values of %v bytes", off, s.a.FileBytes(), sizes)
			}
		}
		backed()
		for i := range 300 {
			err := s.Set(fmt.Append(nil, i), make([]byte, sizes[i%len(sizes)]))
			if i%20 == 0 || err != nil {
				backed()
			}
			if err != nil {
				require.ErrorIs(t, err, ErrFull)
				break
			}
		}
		if slices.Max(sizes) < 1<<20 {
			require.False(t, s.a.Punched())
		}
	}
}
