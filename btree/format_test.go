package btree

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/nodetest"
	"github.com/seed-869cc763/shmkv/node"
)

// TestFormat compares the bytes of small trees with an annotated dump.
func TestFormat(t *testing.T) {
	var out strings.Builder
	tell := func(title string, s *subject) {
		fmt.Fprintf(&out, "# %s\n", title)
		dump(t, &out, s)
	}

	s := newSubject(t, 1<<16)
	s.set("key", "value")
	s.commit()
	tell("one entry", s)

	for i := range maxBottom {
		s.set(fmt.Sprintf("the same beginning %02d", i), "")
	}
	s.commit()
	s.delete("the same beginning 30")
	s.commit()
	tell("two bottom nodes, of three commits; keys of one head, so the separator is tied", s)

	s = newSubject(t, 1<<16)
	for i := range maxBottom + 1 {
		s.set("12345678"+strings.Repeat("\x00", i), "")
	}
	s.commit()
	tell("keys that begin with the same bytes, which are skipped", s)

	s = newSubject(t, 1<<16)
	s.set("a", "without")
	s.tx.Extra.Flags = node.HasSum
	s.set("b", "with a checksum")
	s.commit()
	tell("two entries, one with a checksum", s)
	nodetest.RequireGolden(t, out.String())
}

// dump writes the nodes of a tree.
func dump(t *testing.T, out *strings.Builder, s *subject) {
	r := s.tx.Reader()
	var nodes []node.Node
	counts, err := r.Check(s.tx.Root, s.version, s.tx.Extra, func(n node.Node) error {
		nodes = append(nodes, n)
		return nil
	})
	require.NoError(t, err)
	fmt.Fprintf(out, "root %016x  %v, %d entries, %d bytes\n\n", uint64(s.tx.Root), s.tx.Root, counts.Entries, counts.DataBytes)
	nodetest.Dump(out, r.Reader, nodes, func(n node.Node, off uint64) string { return note(t, r, n, off) })
}

func note(t *testing.T, r Reader, n node.Node, off uint64) string {
	b, err := r.node(n.Ref, n.Depth)
	require.NoError(t, err)
	at := n.Ref.Off() + off
	switch w := r.Mem.Word(at); {
	case off == node.HeadOff:
		return fmt.Sprintf("%d children, skip %d", b.n, b.skip)
	case at < b.refOff(0):
		return fmt.Sprintf("head %d", (at-b.headOff(0))/8)
	case at < b.refOff(0)+8*b.n:
		return node.Ref(w).String()
	default:
		return fmt.Sprintf("%d leaves", w)
	}
}
