package shm

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/node"
)

// The words of a root node and of the records that it leads to are part of the format.
func TestFormatOfMaps(t *testing.T) {
	h, err := alloc.NewHeap(1 << 20)
	require.NoError(t, err)
	a, _, err := h.Attach(nil)
	require.NoError(t, err)
	s := newStore(a, "heap")
	require.NoError(t, s.Set([]byte("a"), []byte("1")))
	require.NoError(t, s.Map("hash").Set([]byte("b"), []byte("22")))
	require.NoError(t, s.Ordered("ordered").Set([]byte("c"), []byte("333")))
	require.NoError(t, s.Update(func(tx *Tx) error {
		for i := range 3 * dropStep {
			if err := tx.Map("old").Set(fmt.Append(nil, i%10, i), nil); err != nil {
				return err
			}
		}
		return nil
	}))
	_, err = s.DropMap("old")
	require.NoError(t, err)

	var out strings.Builder
	require.NoError(t, s.View(func(sn *Snapshot) error {
		r := s.reader()
		for i := range uint64(alloc.PayloadWords) {
			fmt.Fprintf(&out, "root node %d: %#x\n", i, r.Mem.Word(sn.pin.PayloadOff()+8*i))
		}
		root := sn.root()
		for _, trie := range []node.Ref{root.directory, root.dropped} {
			require.NoError(t, r.Walk(trie, func(l node.Leaf) bool {
				fmt.Fprintf(&out, "record %q, flags %d, map %#x:", r.Key(l), l.Flags(), r.Extra(l).Map)
				value := l.ValueOff()
				fmt.Fprintf(&out, " %d zeros,", recordAt(value)-value)
				for at := recordAt(value); at < value+l.ValueLen(); at += 8 {
					fmt.Fprintf(&out, " %#x", r.Mem.Word(at))
				}
				out.WriteByte('\n')
				return true
			}))
		}
		leaf := func(m mapView, key string) {
			l, err := m.view().find(s.hashIn(m.to, []byte(key)), []byte(key))
			require.NoError(t, err)
			fmt.Fprintf(&out, "entry %q, flags %d, map %#x\n", r.Key(l), l.Flags(), r.Extra(l).Map)
		}
		leaf(sn.mapView, "a")
		leaf(sn.Map("hash").mapView, "b")
		leaf(sn.Ordered("ordered").mapView, "c")
		return nil
	}))
	require.Equal(t, `root node 0: 0x1
root node 1: 0x410
root node 2: 0x2
root node 3: 0x7aa300000001d002
root node 4: 0x1f421
root node 5: 0xe5be00000002404a
root node 6: 0x2
root node 7: 0x7
root node 8: 0x0
record "hash", flags 1, map 0x0: 4 zeros, 0x1 0x1 0x3 0xd5b400000001f002
record "ordered", flags 1, map 0x0: 1 zeros, 0x2 0x1 0x4 0x1f044
record "\x00\x00\x00\x00\x00\x00\x00\x06old", flags 1, map 0x0: 5 zeros, 0x1 0x10 0x3a 0x2b091
entry "a", flags 0, map 0x0
entry "b", flags 1, map 0x82b08c11c354da4f
entry "c", flags 1, map 0x6b011bbfc2e55ca5
`, out.String(), "the format has changed: raise FormatVersion")
}
