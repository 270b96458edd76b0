package hamt

import (
	"math/rand"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestBeyond: what Beyond visits takes along all that lies at the frontier and
// beyond, and each leaf of it takes something.
func TestBeyond(t *testing.T) {
	eachHash(t, func(t *testing.T, hash func([]byte) uint64) {
		rnd := rand.New(rand.NewSource(1))
		s := newSubject(t, 16<<20, hash)
		for range 3000 / slow {
			s.set(randomKey(rnd, 2000), randomValue(rnd))
		}
		s.commit()
		r, root := s.tx.Reader(), s.tx.Root
		var offs []uint64
		_, err := r.Check(root, 0, hash, func(n Node) error {
			offs = append(offs, n.Ref.Off())
			return nil
		})
		require.NoError(t, err)
		for range 20 {
			frontier := offs[rnd.Intn(len(offs))]
			visited := map[uint64]bool{}
			for part := range Parts {
				require.NoError(t, r.Beyond(root, part, frontier, func(l Leaf) bool {
					require.False(t, visited[l.Off], "a leaf is visited twice")
					visited[l.Off] = true
					return true
				}))
			}
			var above []Node // that have to move and are not known to yet
			owes := map[uint64]bool{}
			inCollision := uint64(0)
			_, err := r.Check(root, 0, hash, func(n Node) error {
				if inCollision == 0 {
					above = above[:n.Depth]
				} else { // its leaves are as deep as it is itself
					above = above[:n.Depth+1]
					inCollision--
				}
				above = append(above, n)
				if n.Ref.kind() == kindCollision {
					c, err := r.collision(n.Ref)
					require.NoError(t, err)
					inCollision = c.count
				}
				if n.Ref.Off() >= frontier {
					owes[n.Ref.Off()] = true
				}
				if !visited[n.Ref.Off()] {
					return nil
				}
				useful := false
				for _, a := range above {
					// The branches above a part are taken along by each.
					useful = useful || owes[a.Ref.Off()] || a.Depth < 2 && a.Ref.Off() >= frontier
					delete(owes, a.Ref.Off())
				}
				require.True(t, useful, "a leaf is visited that takes nothing along")
				return nil
			})
			require.NoError(t, err)
			require.Empty(t, owes, "nodes beyond the frontier that no leaf takes along")
		}
		n := 0
		for part := range Parts {
			require.NoError(t, r.Beyond(root, part, 0, func(Leaf) bool { n++; return false }))
		}
		require.Positive(t, n)
		require.Less(t, n, len(s.model)+1, "false ends a part")
	})
}
