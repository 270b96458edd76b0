package shm_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/shm"
)

// What snapshots hold is told by version, the oldest that needs it.
func TestReportHeld(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		fills := byte(0)
		fill := func() {
			fills++
			for i := range 200 {
				set(t, s, fmt.Sprint(i), string(bytes.Repeat([]byte{fills}, 100)))
			}
		}
		fill()
		require.Empty(t, sound(t, s).Held)
		old, err := other.Snapshot()
		require.NoError(t, err)
		fill()
		young, err := other.Snapshot()
		require.NoError(t, err)
		fill()
		fill()
		rep := sound(t, other)
		require.Len(t, rep.Held, 2)
		require.Equal(t, old.Version(), rep.Held[0].Version)
		require.Equal(t, young.Version(), rep.Held[1].Version)
		require.Greater(t, rep.Held[0].Bytes, int64(200*100))
		require.Equal(t, rep.HeldBytes, rep.Held[0].Bytes+rep.Held[1].Bytes)

		require.NoError(t, old.Close())
		fill()
		rep = sound(t, other)
		require.Len(t, rep.Held, 1)
		require.Equal(t, young.Version(), rep.Held[0].Version)
		require.NoError(t, young.Close())
	})
}

func TestReportClasses(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		for i := range 301 {
			set(t, s, fmt.Sprintf("%03d", i), string(make([]byte, 1000-16-3)))
		}
		set(t, s, "large", string(make([]byte, 100000)))
		rep := sound(t, s)
		var slabs int64
		found := map[int64]shm.SizeClass{}
		for i, c := range rep.Classes {
			if i > 0 && c.Size > 0 {
				require.Greater(t, c.Size, rep.Classes[i-1].Size)
			}
			require.Positive(t, c.Slabs)
			require.GreaterOrEqual(t, c.Blocks, c.Free+c.Cached)
			require.GreaterOrEqual(t, c.Bytes, c.Blocks*c.Size)
			found[c.Size] = c
			slabs += c.Bytes
		}
		leaves := found[1024]
		require.GreaterOrEqual(t, leaves.Blocks-leaves.Free-leaves.Cached, int64(301))
		require.Less(t, leaves.Blocks-leaves.Free-leaves.Cached, int64(330))
		require.Positive(t, leaves.Free+leaves.Cached)
		require.Equal(t, shm.SizeClass{Slabs: 1, Bytes: 25 * 4096, Blocks: 1}, found[0])
		require.Less(t, slabs, rep.FileBytes)
	})
}

func TestReportTrie(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		empty := sound(t, s).Trie
		require.Equal(t, shm.TrieShape{Leaves: []int64{}, Branches: []int64{}, Children: []int64{}}, empty)
		set(t, s, "a", "1")
		require.Equal(t, []int64{1}, sound(t, s).Trie.Leaves)
		for i := range 1000 {
			set(t, s, fmt.Sprint(i), "")
		}
		trie := sound(t, s).Trie
		require.Zero(t, trie.Collisions)
		require.Equal(t, int64(1), trie.Branches[0])
		var leaves, branches, children int64
		for _, n := range trie.Leaves {
			leaves += n
		}
		for _, n := range trie.Branches {
			branches += n
		}
		for n, many := range trie.Children {
			children += int64(n) * many
		}
		require.Equal(t, int64(1001), leaves)
		require.Equal(t, leaves+branches, children+1, "all but the root is a child")
	})
}
