package alloc

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/alloc/layout"
)

func TestMaxBlock(t *testing.T) {
	for _, c := range []struct{ maxSize, want uint64 }{
		{1 << 20, 227 << 12},                    // the first segment, without what is always in use
		{1<<20 + 64<<10, 245 << 12},             // the second is shorter, but may hold those
		{1<<20 + 512<<10, 245 << 12},            // still
		{2 << 20, 251 << 12},                    // the second, without its table
		{2<<20 + 64<<10, 251 << 12},             // the third is shorter
		{4 << 20, 503 << 12},                    // 2 MiB less a table of 512 pages
		{16 << 20, 8<<20 - 33<<12},              // 8 MiB less a table of 2048 pages
		{1 << 30, 512<<20 - 8<<20 - 1<<12},      // a descriptor of 64 bytes for each page, and the hints
		{1 << 40, 512<<30 - 8<<30 - 4<<20},      // 2^19 groups of 8 bytes
		{layout.MaxSize, 1<<43 - 1<<37 - 1<<26}, // 2^23 groups of 8 bytes
	} {
		require.Equal(t, c.want, layout.MaxBlockOf(c.maxSize), "MaxSize %d", c.maxSize)
	}
}

// A block of that size can be had and published, and a larger one cannot.
func TestMaxBlockFits(t *testing.T) {
	for _, maxSize := range []uint64{1 << 20, 2 << 20, 3 << 20, 4 << 20, 5 << 20} {
		for _, more := range []uint64{1, 0} {
			h, err := NewHeap(maxSize)
			require.NoError(t, err)
			a, _, err := h.Attach(nil)
			require.NoError(t, err)
			s, err := a.Slot(Brief)
			require.NoError(t, err)
			_, err = s.Begin()
			require.NoError(t, err)
			if _, err = s.Alloc(a.MaxBlock() + more); err == nil {
				_, err = s.Commit(&[PayloadWords]uint64{})
			}
			if more > 0 {
				require.ErrorIs(t, err, ErrFull, "MaxSize %d", maxSize)
			} else {
				require.NoError(t, err, "MaxSize %d", maxSize)
			}
		}
	}
}
