package hamt

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/node"
)

// TestDiffTakesTimeOfTheChange checks that three changes among 20,000 entries cost a
// few steps each, and that an entry rewritten with the same value is not a difference.
func TestDiffTakesTimeOfTheChange(t *testing.T) {
	s := newSubject(t, 32<<20, sip)
	s.heap.KeepRetired = true
	for i := range 20000 {
		s.set(fmt.Sprint(i), "value")
	}
	s.commit()
	older := s.tx.Root
	s.set("7", "changed")
	s.set("8", "value")
	s.delete("9")
	s.set("new", "")
	s.commit()

	var got []string
	r := s.tx.Reader()
	d := differ{a: r, b: r, shared: true, hash: sip, left: 40 * minEntrySize, visit: func(old, new node.Leaf) bool {
		switch {
		case old == node.Leaf{}:
			got = append(got, "+"+string(r.Key(new)))
		case new == node.Leaf{}:
			got = append(got, "-"+string(r.Key(old)))
		default:
			got = append(got, fmt.Sprintf("%s:%s>%s", r.Key(old), r.Value(old), r.Value(new)))
		}
		return true
	}}
	require.NoError(t, d.diff(older, s.tx.Root, 0))
	require.ElementsMatch(t, []string{"7:value>changed", "-9", "+new"}, got)
}

// TestDiffStops checks that Diff ends when visit returns false.
func TestDiffStops(t *testing.T) {
	for name, hash := range hashes {
		s := newSubject(t, 1<<20, hash)
		for i := range 30 {
			s.set(fmt.Sprint(i), "")
		}
		for stop := 1; stop <= 30; stop++ {
			n := 0
			require.NoError(t, s.tx.Reader().Diff(0, s.tx.Root, hash, func(_, _ node.Leaf) bool { n++; return n < stop }))
			require.Equal(t, stop, n, name)
		}
	}
}

// TestJoin checks that Join visits each key of two tries in different regions once,
// with its leaf in each, whatever the shapes of the tries are.
func TestJoin(t *testing.T) {
	for name, hash := range hashes {
		t.Run(name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, 2))
			for _, n := range []int{0, 1, 2, 10, 300} {
				a, b := newSubject(t, 1<<20, hash), newSubject(t, 1<<20, hash)
				for _, s := range []*subject{a, b} {
					for range rng.IntN(n + 1) {
						s.set(fmt.Sprint(rng.IntN(n)), fmt.Sprint(rng.IntN(2)))
					}
				}
				joined := func(a, b *subject) map[string][2]string {
					got := map[string][2]string{}
					p, q := a.tx.Reader(), b.tx.Reader()
					require.NoError(t, Join(p, a.tx.Root, q, b.tx.Root, hash, func(old, new node.Leaf) bool {
						pair, key := [2]string{"absent", "absent"}, ""
						if old != (node.Leaf{}) {
							key, pair[0] = string(p.Key(old)), string(p.Value(old))
						}
						if new != (node.Leaf{}) {
							key, pair[1] = string(q.Key(new)), string(q.Value(new))
						}
						require.NotContains(t, got, key)
						got[key] = pair
						return true
					}))
					return got
				}
				want := map[string][2]string{}
				for i := range n {
					key, pair := fmt.Sprint(i), [2]string{"absent", "absent"}
					for side, s := range []*subject{a, b} {
						if value, ok := s.model[key]; ok {
							pair[side] = value
						}
					}
					if pair != [2]string{"absent", "absent"} {
						want[key] = pair
					}
				}
				require.Equal(t, want, joined(a, b))
				same := joined(b, b)
				require.Len(t, same, len(b.model))
			}
		})
	}
}
