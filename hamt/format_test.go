package hamt

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/nodetest"
	"github.com/seed-869cc763/shmkv/node"
)

// TestFormat compares the bytes of small tries with an annotated dump. A change of the
// format shows as a difference of this dump, and makes existing stores unreadable.
func TestFormat(t *testing.T) {
	var out strings.Builder
	tell := func(title string, s *subject) {
		fmt.Fprintf(&out, "# %s\n", title)
		dump(t, &out, s)
	}

	s := newSubject(t, 1<<16, sip)
	s.set("key", "value")
	s.commit()
	tell("one entry", s)

	s.set("", "an empty key")
	s.set("an empty value", "")
	for i := range 9 {
		s.set(fmt.Sprint("k", i), "v")
	}
	s.commit()
	s.delete("k8")
	s.commit()
	tell("eleven entries, of three commits", s)

	s = newSubject(t, 1<<16, hashes["bit33"])
	for _, key := range []string{"a", "b", "c", "d"} {
		s.set(key, strings.ToUpper(key))
	}
	s.commit()
	tell("two hashes that differ in bit 33, of two keys each", s)

	s = newSubject(t, 1<<16, sip)
	s.set("a", "without")
	s.tx.Extra.Flags = node.HasSum
	s.set("b", "with a checksum")
	s.commit()
	tell("two entries, one with a checksum", s)

	nodetest.RequireGolden(t, out.String())
}

// dump writes the nodes of a trie.
func dump(t *testing.T, out *strings.Builder, s *subject) {
	r := s.tx.Reader()
	var nodes []node.Node
	counts, err := r.Check(s.tx.Root, s.version, s.hash, node.Extra{}, func(n node.Node) error {
		nodes = append(nodes, n)
		return nil
	})
	require.NoError(t, err)
	fmt.Fprintf(out, "root %016x  %v, %d entries, %d bytes\n\n", uint64(s.tx.Root), s.tx.Root, counts.Entries, counts.DataBytes)
	nodetest.Dump(out, r.Reader, nodes, func(n node.Node, off uint64) string { return note(r, n, off) })
}

func note(r Reader, n node.Node, off uint64) string {
	w := r.Mem.Word(n.Ref.Off() + off)
	switch {
	case n.Ref.Kind() == node.KindBranch && off == node.HeadOff:
		var set []string
		for i := range fanout {
			if w>>i&1 != 0 {
				set = append(set, fmt.Sprint(i))
			}
		}
		return "bitmap: " + strings.Join(set, " ")
	case off == node.HeadOff:
		return fmt.Sprint("leaves: ", w)
	}
	return node.Ref(w).String()
}
