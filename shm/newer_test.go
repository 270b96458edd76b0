package shm

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/hamt"
	"github.com/seed-869cc763/shmkv/node"
)

// What is newer than a version is all that a later one reaches and that one does not.
func TestNewer(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 1))
	s, err := Open(filepath.Join(t.TempDir(), "store"), &Options{MaxSize: 16 << 20})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	s.hostile = func(key []byte) uint64 { // with collisions
		if h := hamt.Hash(s.k0, s.k1, key); len(key) != 3 {
			return h
		}
		return 7
	}
	found := 0
	for range 120 {
		before, err := s.Snapshot()
		require.NoError(t, err)
		for range rng.IntN(10) {
			changeSomething(t, s, rng)
		}
		after, err := s.Snapshot()
		require.NoError(t, err)
		want := blocksOf(t, after)
		for off := range blocksOf(t, before) {
			delete(want, off)
		}
		got := map[uint64]uint64{}
		require.NoError(t, newer(s.a, after.pin.Root, before.Version(), func(off, size uint64) error {
			require.Zero(t, got[off], "visited twice")
			got[off] = size
			return nil
		}))
		require.Equal(t, want, got)
		found += len(got)
		require.NoError(t, before.Close())
		require.NoError(t, after.Close())
	}
	require.Greater(t, found, 1000)
}

// changeSomething makes a commit, or a few.
func changeSomething(t *testing.T, s *Store, rng *rand.Rand) {
	key := fmt.Appendf(nil, "%0*d", 3+rng.IntN(2), rng.IntN(500))
	value := []byte(strings.Repeat("v", 1<<rng.IntN(10)))
	name := fmt.Sprint("map", rng.IntN(3))
	var err error
	switch rng.IntN(9) {
	case 0:
		_, err = s.Delete(key)
	case 1:
		_, err = s.Map(name + "h").Delete(key)
	case 2:
		_, err = s.Ordered(name).Delete(key)
	case 3:
		_, err = s.DropMap(name)
	case 4:
		_, err = s.Compact(t.Context(), nil)
	case 5:
		err = s.Update(func(tx *Tx) error {
			for i := range 40 {
				if err := tx.Ordered(name).Set(fmt.Appendf(nil, "%s.%d", key, i), value); err != nil {
					return err
				}
			}
			return tx.Set(key, value)
		})
	case 6:
		err = s.Map(name+"h").Set(key, value)
	default:
		err = s.Set(key, value)
	}
	require.NoError(t, err)
}

// blocksOf returns the sizes of all blocks but the root node of a snapshot, by their offsets.
func blocksOf(t *testing.T, sn *Snapshot) map[uint64]uint64 {
	blocks := map[uint64]uint64{}
	p := prover{s: sn.s, r: sn.s.reader(), at: sn.pin.Root, visit: func(_ *target, n node.Node) error {
		blocks[n.Ref.Off()] = n.Size
		return nil
	}}
	_, err := p.run()
	require.NoError(t, err)
	return blocks
}
