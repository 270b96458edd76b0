package hamt

import (
	"math/rand"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/nodetest"
	"github.com/seed-869cc763/shmkv/node"
)

// TestMove checks that Move can move any node of a trie and keeps the contents, that it
// does nothing for a block that is not a node, and that a failed Move leaks no block.
func TestMove(t *testing.T) {
	eachHash(t, func(t *testing.T, hash func([]byte) uint64) {
		rnd := rand.New(rand.NewSource(1))
		s := newSubject(t, 16<<20, hash)
		s.heap.KeepRetired = true
		for i := range uint64(300) {
			s.tx.Extra.Flags = i % 2 * node.HasSum
			s.set(randomKey(rnd, 200), randomValue(rnd))
		}
		s.commit()
		var branches, leaves, collisions int
		for round := range 60 / slow {
			var nodes []node.Node
			_, err := s.tx.Reader().Check(s.tx.Root, s.version, hash, node.Extra{}, func(n node.Node) error {
				nodes = append(nodes, n)
				return nil
			})
			require.NoError(t, err)
			n := nodes[rnd.Intn(len(nodes))]
			off, size := n.Ref.Off(), nodetest.ClassSize(n.Size)
			if round == 0 {
				// A block of another size, and an offset where no node begins.
				for _, wrong := range [][2]uint64{{off, size + 4096}, {off + 8, size}} {
					moved, _, err := move(s.tx, wrong[0], wrong[1])
					require.NoError(t, err)
					require.False(t, moved)
					require.Zero(t, s.heap.LogLen())
				}
			}
			for fail := 1; ; fail++ {
				s.heap.Allocs, s.heap.FailAt = 0, fail
				root := s.tx.Root
				moved, leaf, err := move(s.tx, off, size)
				s.heap.FailAt = 0
				if err != nil {
					require.ErrorIs(t, err, nodetest.ErrFull)
					require.Equal(t, root, s.tx.Root)
					for i := range s.heap.Log {
						require.False(t, s.heap.Live(s.heap.Log[i]), "a block of a move that failed is kept")
					}
					s.tx.Reset(reader(s.heap), s.heap, hash, s.tx.Tree)
					continue
				}
				require.True(t, moved, "%v at depth %d", n.Ref, n.Depth)
				require.Equal(t, n.Ref.Kind() == node.KindLeaf, leaf.Off == off)
				break
			}
			require.True(t, s.heap.IsWaiting(off), "the block that was moved from is retired")
			s.commit()
			moved, _, err := move(s.tx, off, size)
			require.NoError(t, err)
			require.False(t, moved, "what is left in the old block is no node any more")
			switch n.Ref.Kind() {
			case node.KindBranch:
				branches++
			case node.KindLeaf:
				leaves++
			case node.KindCollision:
				collisions++
			}
		}
		t.Logf("%d branches, %d leaves, %d collisions moved", branches, leaves, collisions)
		require.Positive(t, leaves)
	})
}

// move moves the node in a block, if it is part of the trie.
func move(tx *Tx, off, size uint64) (moved bool, leaf node.Leaf, err error) {
	for _, l := range tx.Leads(nil, off, size) {
		if moved, leaf, err = tx.Move(off, tx.hashOf(l)); moved || err != nil {
			break
		}
	}
	return moved, leaf, err
}
