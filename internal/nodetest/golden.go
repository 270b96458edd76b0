package nodetest

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seed-869cc763/shmkv/node"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// RequireGolden compares a dump with the file testdata/format.txt. A change of the format
// shows as a difference, and makes existing stores unreadable.
func RequireGolden(t *testing.T, dump string) {
	t.Helper()
	golden := filepath.Join("testdata", "format.txt")
	if *update {
		err := os.MkdirAll("testdata", 0o777)
		if err == nil {
			err = os.WriteFile(golden, []byte(dump), 0o666)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) == dump {
		return
	}
	was, is := strings.Split(string(want), "\n"), strings.Split(dump, "\n")
	i := 0
	for i < min(len(was), len(is))-1 && was[i] == is[i] {
		i++
	}
	t.Fatalf("the format has changed; line %d was\n%s\nand is\n%s", i+1, was[i], is[i])
}

// Dump writes nodes in the order of their offsets, one word a line, in the byte order of
// memory. note explains a word of a node that is no leaf, other than the birth.
func Dump(out *strings.Builder, r node.Reader, nodes []node.Node, note func(n node.Node, off uint64) string) {
	slices.SortFunc(nodes, func(a, b node.Node) int { return int(a.Ref.Off()) - int(b.Ref.Off()) })
	for _, n := range nodes {
		fmt.Fprintf(out, "%v, depth %d\n", n.Ref, n.Depth)
		for off := uint64(0); off < n.Size; off += node.WordSize {
			p := r.Mem.Bytes(n.Ref.Off()+off, min(node.WordSize, n.Size-off))
			said := ""
			switch {
			case off == 0:
				said = fmt.Sprint("birth ", n.Birth)
			case n.Ref.Kind() != node.KindLeaf:
				said = note(n, off)
			case off == node.HeadOff:
				said = fmt.Sprintf("value of %d bytes, key of %d: %q = %q", n.Leaf.ValueLen(), n.Leaf.KeyLen(), r.Key(n.Leaf), r.Value(n.Leaf))
			}
			line := fmt.Sprintf("  %04x  %-24s %s", n.Ref.Off()+off, fmt.Sprintf("% x", p), said)
			out.WriteString(strings.TrimRight(line, " ") + "\n")
		}
		out.WriteByte('\n')
	}
}
