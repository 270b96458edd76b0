package hamt

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestDiffTakesTimeOfTheChange: three changes among 20,000 entries cost a few
// steps each; an entry that was written anew, unchanged, is none.
func TestDiffTakesTimeOfTheChange(t *testing.T) {
	s := newSubject(t, 32<<20, sip)
	s.heap.keepRetired = true
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
	d := differ{r: r, hash: sip, left: 40 * minEntrySize, visit: func(old, new Leaf) bool {
		switch {
		case old == Leaf{}:
			got = append(got, "+"+string(r.Key(new)))
		case new == Leaf{}:
			got = append(got, "-"+string(r.Key(old)))
		default:
			got = append(got, fmt.Sprintf("%s:%s>%s", r.Key(old), r.Value(old), r.Value(new)))
		}
		return true
	}}
	require.NoError(t, d.diff(older, s.tx.Root, 0))
	require.ElementsMatch(t, []string{"7:value>changed", "-9", "+new"}, got)
}

// TestDiffStops: it ends when visit says so.
func TestDiffStops(t *testing.T) {
	for name, hash := range hashes {
		s := newSubject(t, 1<<20, hash)
		for i := range 30 {
			s.set(fmt.Sprint(i), "")
		}
		for stop := 1; stop <= 30; stop++ {
			n := 0
			require.NoError(t, s.tx.Reader().Diff(0, s.tx.Root, hash, func(_, _ Leaf) bool { n++; return n < stop }))
			require.Equal(t, stop, n, name)
		}
	}
}
