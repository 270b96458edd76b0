package btree

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/nodetest"
	"github.com/seed-869cc763/shmkv/node"
)

// Diff of two versions tells what differs, each key once and in order. Join does so for
// trees of two regions, and also tells what is equal.
func TestDiff(t *testing.T) {
	eachKind(t, func(t *testing.T, key func(i uint64) string) {
		rnd := rand.New(rand.NewPCG(11, 12))
		s := newSubject(t, 64<<20)
		s.heap.KeepRetired = true
		type version struct {
			root   node.Ref
			values map[string]string
		}
		versions := []version{{}}
		for range 25 {
			span := uint64(1 + rnd.IntN(1500))
			for range rnd.IntN(100) {
				if k := key(rnd.Uint64N(span)); rnd.IntN(4) > 0 {
					s.set(k, fmt.Sprint(rnd.IntN(3)))
				} else {
					s.delete(k)
				}
			}
			s.commit()
			versions = append(versions, version{s.tx.Root, maps.Clone(s.values)})
		}
		r := s.tx.Reader()
		for range 60 {
			a, b := versions[rnd.IntN(len(versions))], versions[rnd.IntN(len(versions))]
			want := map[string][2]string{}
			for k, v := range a.values {
				if w, ok := b.values[k]; !ok || v != w {
					want[k] = [2]string{v, w}
				}
			}
			for k, w := range b.values {
				if v, ok := a.values[k]; !ok || v != w {
					want[k] = [2]string{v, w}
				}
			}
			before, first := []byte(nil), true
			require.NoError(t, r.Diff(a.root, b.root, func(old, new node.Leaf) bool {
				k := r.Key(cmpLeaf(old, new))
				w, differs := want[string(k)]
				if !first && bytes.Compare(before, k) >= 0 || !differs || w != [2]string{r.valueOf(old), r.valueOf(new)} {
					t.Fatalf("%q after %q: %q and %q, expected %q", k, before, r.valueOf(old), r.valueOf(new), w)
				}
				before, first = k, false
				delete(want, string(k))
				return true
			}))
			require.Empty(t, want)
		}

		a := versions[rnd.IntN(len(versions))]
		other := newSubject(t, 64<<20)
		for _, k := range slices.Sorted(maps.Keys(s.values)) {
			if rnd.IntN(5) > 0 {
				other.set(k, s.values[k])
			}
		}
		seen := map[string]bool{}
		q := other.tx.Reader()
		require.NoError(t, Join(r, a.root, q, other.tx.Root, func(old, new node.Leaf) bool {
			var k string
			if new != (node.Leaf{}) {
				k = string(q.Key(new))
				require.Equal(t, other.values[k], q.valueOf(new))
			}
			if old != (node.Leaf{}) {
				k = string(r.Key(old))
				require.Equal(t, a.values[k], r.valueOf(old))
			}
			_, inA := a.values[k]
			_, inB := other.values[k]
			require.Equal(t, [2]bool{inA, inB}, [2]bool{old != node.Leaf{}, new != node.Leaf{}})
			require.False(t, seen[k])
			seen[k] = true
			return true
		}))
		for k := range a.values {
			require.True(t, seen[k])
		}
		for k := range other.values {
			require.True(t, seen[k])
		}
	})
}

func cmpLeaf(old, new node.Leaf) node.Leaf {
	if old == (node.Leaf{}) {
		return new
	}
	return old
}

func (r Reader) valueOf(l node.Leaf) string {
	if l == (node.Leaf{}) {
		return ""
	}
	return string(r.Value(l))
}

// The time of Diff depends on what has changed, not on the size of the trees.
func TestDiffSkipsSharedNodes(t *testing.T) {
	for _, n := range []int{1000, 100_000 / slow} {
		h := nodetest.New(t, 64<<20)
		h.Careless = true
		var tx Tx
		tx.Reset(reader(h), h, node.Tree{})
		for i := range n {
			_, _, err := tx.Set(fmt.Appendf(nil, "key%08d", i*7919%n), []byte("value"))
			require.NoError(t, err)
		}
		h.Commit(1)
		before := tx.Root
		h2 := &keeper{Heap: h}
		tx.Reset(reader(h), h2, tx.Tree)
		for i := range 10 {
			_, _, err := tx.Set(fmt.Appendf(nil, "key%08d", i*97), []byte("other"))
			require.NoError(t, err)
		}
		visits := 0
		p := newCursor(reader(h), before)
		left := p.left
		require.NoError(t, diff(p, newCursor(tx.Reader(), tx.Root), true, func(_, _ node.Leaf) bool { visits++; return true }))
		require.Equal(t, 10, visits)
		require.Less(t, left-p.left, uint64(10*maxDepth*maxChildren*50), "bytes read of %d entries", n)
	}
}

// A keeper frees nothing that was retired.
type keeper struct{ *nodetest.Heap }

func (k *keeper) Retire(uint64, uint64) {}
