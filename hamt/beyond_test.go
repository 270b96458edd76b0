package hamt

import (
	"math/rand"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/alloc/region"
)

// TestBeyondOfDamage: of nodes that refer to the same ones over and over there is an
// end, at the first leaf that is reached where it does not belong.
func TestBeyondOfDamage(t *testing.T) {
	words := make([]uint64, 4096)
	mem, end := hostileRegion(words)
	const levels, size = 3, headerSize + fanout*wordSize
	for level := range uint64(levels) {
		off := 64 + level*size
		mem.SetWord(off+headOff, ^uint64(0))
		for i := range uint64(fanout) {
			child := makeRef(kindBranch, off+size, 0)
			if level == levels-1 {
				child = makeRef(kindLeaf, off+size, 0)
			}
			mem.SetWord(off+headerSize+i*wordSize, uint64(child))
		}
	}
	mem.SetWord(64+levels*size+headOff, 100<<keyLenShift)
	r := NewReader(mem, end)
	visits := 0
	var err error
	for part := 0; part < Parts && err == nil; part++ {
		err = r.Beyond(makeRef(kindBranch, 64, 0), part, 0, func([]byte) uint64 { return 0 }, func(Leaf) bool { visits++; return true })
	}
	require.ErrorIs(t, err, region.ErrCorrupt)
	require.LessOrEqual(t, visits, 1)
}

// TestBeyondOfVersions: while parts are looked at entries are written anew in others, so
// that all of them together are more than the region has room for, many times.
func TestBeyondOfVersions(t *testing.T) {
	s := newSubject(t, 1<<20, func(key []byte) uint64 { return uint64(key[0]) })
	for i := range 64 {
		s.set(string([]byte{byte(i)}), string(make([]byte, 8000)))
	}
	s.commit()
	r := s.tx.Reader()
	seen := uint64(0)
	for range 20 {
		for part := range Parts {
			require.NoError(t, r.Beyond(s.tx.Root, part, 0, s.tx.hash, func(l Leaf) bool { seen += l.Size(); return true }))
		}
	}
	require.Greater(t, seen, 2*r.end)
}

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
				require.NoError(t, r.Beyond(root, part, frontier, hash, func(l Leaf) bool {
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
			require.NoError(t, r.Beyond(root, part, 0, hash, func(Leaf) bool { n++; return false }))
		}
		require.Positive(t, n)
		require.Less(t, n, len(s.model)+1, "false ends a part")
	})
}
