//go:build shmhook

package shm

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/node"
)

// The kernel writes pages back in any order. So a newer parent may lead to a block that the
// disk has an earlier life of: an entry of the same key with an older value, whose checksum
// is right, and whose birth is after the checkpoint. No check of blocks tells. A recovery
// does not believe it, and one that tries the newest version finds it by the digest.
func TestStaleBlock(t *testing.T) {
	h, err := alloc.NewHeap(1 << 20)
	require.NoError(t, err)
	h.UseDisk()
	h.SetEager()
	h.SetTrace(tracer(nil))
	a, _, err := h.Attach(nil)
	require.NoError(t, err)
	s := newStore(a, "heap")
	s.sums = node.HasSum
	for i := range 20 {
		require.NoError(t, s.Set(fmt.Appendf(nil, "other%d", i), []byte("value")))
	}
	require.NoError(t, s.Set([]byte("key"), []byte("value 0")))
	require.NoError(t, s.Sync())
	kept := s.Version()

	// Each version of the page goes to the disk, so its versions there are these.
	var offs []uint64
	early := -1
	for i := 1; early < 0; i++ {
		require.Less(t, i, 1000)
		require.NoError(t, s.Set([]byte("key"), fmt.Appendf(nil, "value %d", i)))
		h.WriteBack()
		off := leavesOf(t, s)["/key"].Off
		for j, before := range offs {
			if before == off {
				early = j + 1
			}
		}
		offs = append(offs, off)
	}
	page := offs[len(offs)-1] &^ 4095
	version := 0 // of that page
	for j := range early {
		if offs[j]&^4095 == page {
			version++
		}
	}
	stale := func(off uint64, versions int) int {
		if off&^4095 == page {
			return min(version, versions-1)
		}
		return versions - 1
	}

	// All but the one page is there.
	for _, newest := range []bool{false, true} {
		c := h.Crash(stale)
		if newest {
			c.SetProve(proveNewest)
		}
		a, _, err := c.Attach(nil)
		require.NoError(t, err)
		r := newStore(a, "heap")
		require.Equal(t, kept, r.Version())
		v, err := r.Get([]byte("key"))
		require.NoError(t, err)
		require.Equal(t, "value 0", string(v))
		if newest {
			require.ErrorContains(t, a.Recovered().Distrust, "digest")
		}
		checkSound(t, r)
	}
	// Everything is there.
	c := h.Crash(func(_ uint64, versions int) int { return versions - 1 })
	c.SetProve(proveNewest)
	a, _, err = c.Attach(nil)
	require.NoError(t, err)
	r := newStore(a, "heap")
	require.NoError(t, a.Recovered().Distrust)
	require.Equal(t, s.Version(), r.Version())
	checkSound(t, r)
}
