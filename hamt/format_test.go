package hamt

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/node"
)

var update = flag.Bool("update", false, "rewrite the golden files")

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

	golden := filepath.Join("testdata", "format.txt")
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o777))
		require.NoError(t, os.WriteFile(golden, []byte(out.String()), 0o666))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Equal(t, string(want), out.String())
}

// dump writes the nodes of a trie in the order of their offsets, one word a line, in
// the byte order of memory.
func dump(t *testing.T, out *strings.Builder, s *subject) {
	r := s.tx.Reader()
	var nodes []node.Node
	counts, err := r.Check(s.tx.Root, s.version, s.hash, node.Extra{}, func(n node.Node) error {
		nodes = append(nodes, n)
		return nil
	})
	require.NoError(t, err)
	fmt.Fprintf(out, "root %016x  %v, %d entries, %d bytes\n\n", uint64(s.tx.Root), s.tx.Root, counts.Entries, counts.DataBytes)
	slices.SortFunc(nodes, func(a, b node.Node) int { return int(a.Ref.Off()) - int(b.Ref.Off()) })
	for _, n := range nodes {
		fmt.Fprintf(out, "%v, depth %d\n", n.Ref, n.Depth)
		for off := uint64(0); off < n.Size; off += 8 {
			p := r.Mem.Bytes(n.Ref.Off()+off, min(8, n.Size-off))
			line := fmt.Sprintf("  %04x  %-24s %s", n.Ref.Off()+off, fmt.Sprintf("% x", p), note(r, n, off))
			out.WriteString(strings.TrimRight(line, " ") + "\n")
		}
		out.WriteByte('\n')
	}
}

func note(r Reader, n node.Node, off uint64) string {
	w := r.Mem.Word(n.Ref.Off() + off)
	switch {
	case off == 0:
		return fmt.Sprint("birth ", n.Birth)
	case n.Ref.Kind() == node.KindLeaf && off == node.HeadOff:
		l, _ := r.Leaf(n.Ref)
		return fmt.Sprintf("value of %d bytes, key of %d: %q = %q", l.ValueLen(), l.KeyLen(), r.Key(l), r.Value(l))
	case n.Ref.Kind() == node.KindLeaf:
		return ""
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
