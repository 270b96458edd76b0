package btree

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/nodetest"
	"github.com/seed-869cc763/shmkv/node"
)

// A write is a change of a key in the tests: a set, or a delete.
type write struct {
	key, value string
	deletes    bool
}

// changeMany carries out writes, and compares what is reported with the model.
func (s *subject) changeMany(writes []write) {
	s.t.Helper()
	var changes []Change
	var want Changed
	for _, w := range writes {
		c := Change{Key: []byte(w.key)}
		i, had := slices.BinarySearch(s.keys, w.key)
		switch {
		case w.deletes && had:
			s.keys = slices.Delete(s.keys, i, i+1)
			delete(s.values, w.key)
			want.Deleted++
		case w.deletes:
		case !had:
			s.keys = slices.Insert(s.keys, i, w.key)
			want.Inserted++
		case s.values[w.key] != w.value:
			want.Replaced++
		}
		if !w.deletes {
			s.values[w.key] = w.value
			var err error
			c.Leaf, err = s.tx.NewLeaf(c.Key, []byte(w.value))
			require.NoError(s.t, err)
		}
		changes = append(changes, c)
	}
	did, err := s.tx.ChangeMany(changes)
	require.NoError(s.t, err)
	require.Equal(s.t, want, did)
}

// order puts writes in one of several orders.
func order(rnd *rand.Rand, writes []write) {
	ascending := func(v, w write) int {
		switch {
		case v.key < w.key:
			return -1
		case v.key > w.key:
			return 1
		}
		return 0
	}
	switch rnd.IntN(4) {
	case 0: // as they were drawn
	case 1:
		slices.SortStableFunc(writes, func(v, w write) int { return ascending(w, v) })
	default:
		slices.SortStableFunc(writes, ascending)
	}
}

// Batches of random sets and deletes, in order and not, with neighbours and the same key several
// times.
func TestChangeMany(t *testing.T) {
	eachKind(t, func(t *testing.T, key func(i uint64) string) {
		rnd := rand.New(rand.NewPCG(11, 12))
		s := newSubject(t, 16<<20)
		for round := range 150 / slow {
			span := uint64(1 + rnd.IntN(1500))
			grow := rnd.IntN(3) > 0
			s.tx.Extra.Flags = uint64(round%3/2) * node.HasSum
			for range 1 + rnd.IntN(4) {
				var writes []write
				for range 1 + rnd.IntN(100) {
					first := rnd.Uint64N(span)
					deletes := (rnd.IntN(4) > 0) != grow
					for i := range 1 + rnd.Uint64N(8)*rnd.Uint64N(8) {
						writes = append(writes, write{key(first + i), fmt.Sprint("value ", rnd.IntN(5)), deletes})
					}
				}
				order(rnd, writes)
				s.changeMany(writes)
				if rnd.IntN(4) == 0 {
					s.set(key(rnd.Uint64N(span)), "between")
				}
			}
			s.tx.KeepLeaves = rnd.IntN(2) == 0
			if round%3 == 0 {
				s.verify(0)
			}
			s.commit()
			for range 10 {
				s.look(key(rnd.Uint64N(span + 10)))
			}
			s.walks(rnd)
		}
		for len(s.keys) > 0 {
			first := rnd.IntN(len(s.keys))
			var writes []write
			for _, k := range s.keys[first:min(first+1+rnd.IntN(300), len(s.keys))] {
				writes = append(writes, write{key: k, deletes: true})
			}
			order(rnd, writes)
			s.changeMany(writes)
			s.commit()
		}
		require.Zero(t, s.tx.Root)
		require.Zero(t, s.heap.LiveBlocks(), "an empty tree takes no memory")
	})
}

// A batch that finds no memory, wherever that happens, leaves nothing behind when its transaction is
// given up.
func TestChangeManyFull(t *testing.T) {
	eachKind(t, func(t *testing.T, key func(i uint64) string) {
		rnd := rand.New(rand.NewPCG(13, 14))
		s := newSubject(t, 16<<20)
		for i := range uint64(700) {
			s.set(key(i*2), "value")
		}
		s.commit()
		for range max(20/slow, 2) {
			var changes []Change
			for range 30 {
				first := rnd.Uint64N(1400)
				for i := range rnd.Uint64N(20) {
					changes = append(changes, Change{Key: []byte(key(first + i))})
				}
			}
			tree, live := s.tx.Tree, s.heap.LiveBlocks()
			for failAt := 1; ; failAt += 1 + rnd.IntN(20) {
				for i := range changes {
					changes[i].Leaf = node.Leaf{}
					if rnd.IntN(2) == 0 {
						var err error
						changes[i].Leaf, err = s.tx.NewLeaf(changes[i].Key, []byte("another"))
						require.NoError(t, err)
					}
				}
				s.heap.FailAt, s.heap.Allocs = failAt, 0
				_, err := s.tx.ChangeMany(changes)
				s.heap.FailAt = 0
				if err == nil {
					break
				}
				require.ErrorIs(t, err, nodetest.ErrFull)
				s.heap.Rollback(0)
				s.tx.Reset(reader(s.heap), s.heap, tree)
				require.Equal(t, live, s.heap.LiveBlocks())
				s.verify(s.version - 1)
			}
			for _, c := range changes {
				s.resync(string(c.Key))
			}
			s.commit()
		}
	})
}
