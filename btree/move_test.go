package btree

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/nodetest"
	"github.com/seed-869cc763/shmkv/node"
)

// Each node of a tree can be moved, by what its block alone says, and a move that finds no
// memory changes nothing.
func TestMove(t *testing.T) {
	eachKind(t, func(t *testing.T, key func(i uint64) string) {
		s := newSubject(t, 16<<20)
		rnd := rand.New(rand.NewPCG(13, 14))
		for i := range uint64(600) {
			s.tx.Extra.Flags = i % 2 * node.HasSum
			s.set(key(i), fmt.Sprint(i))
		}
		s.commit()
		for range 200 / slow {
			var all []node.Node
			_, err := s.tx.Reader().Check(s.tx.Root, 0, node.Extra{}, func(n node.Node) error {
				all = append(all, n)
				return nil
			})
			require.NoError(t, err)
			n := all[rnd.IntN(len(all))]
			l, leaf := n.Leaf, n.Ref.Kind() == node.KindLeaf
			if !leaf {
				var ok bool
				l, ok = s.tx.LeafBelow(n.Ref.Off(), nodetest.ClassSize(n.Size))
				require.True(t, ok)
			}
			k := append([]byte{}, s.tx.r.Key(l)...)
			root := s.tx.Root
			for failAt := 1; ; failAt++ {
				s.heap.FailAt, s.heap.Allocs = failAt, 0
				moved, old, err := s.tx.Move(n.Ref.Off(), k)
				s.heap.FailAt = 0
				if err == nil {
					require.True(t, moved)
					require.Equal(t, n.Leaf, old)
					break
				}
				require.ErrorIs(t, err, nodetest.ErrFull)
				require.Equal(t, root, s.tx.Root)
			}
			require.NotEqual(t, root, s.tx.Root)
			s.commit()
			moved, _, err := s.tx.Move(n.Ref.Off(), append(k, 'x'))
			require.NoError(t, err)
			if moved { // another node has the block now
				s.commit()
			}
		}
	})
}
