package hamt

import (
	"maps"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/node"
)

// requireWalkFrom goes through a trie a few leaves at a time, each time behind the position of
// the last leaf, and compares what it has met with model.
func requireWalkFrom(t testing.TB, r Reader, root node.Ref, hash func([]byte) uint64, model map[string]string) {
	t.Helper()
	found, some := map[string]string{}, max(3, len(model)/8)
	for pos, more := uint64(0), true; more; {
		more = false
		n, last := 0, uint64(0)
		require.NoError(t, r.WalkFrom(root, pos, func(l node.Leaf) bool {
			at := Position(hash(r.Key(l)))
			if n >= some && at != last { // not between leaves of a collision
				more = true
				return false
			}
			if n > 0 && at < last {
				t.Fatalf("a leaf at position %#x comes after one at %#x", at, last)
			}
			if at >= pos {
				n++
			} else if n > 0 {
				t.Fatalf("a leaf at position %#x comes late in a walk from %#x", at, pos)
			}
			found[string(r.Key(l))] = string(r.Value(l))
			last = at
			return true
		}))
		pos = last + 1
	}
	if !maps.Equal(model, found) {
		require.Equal(t, model, found)
	}
}

// The position of a hash has the index at the root in its top bits, and each hash has one of
// its own.
func TestPosition(t *testing.T) {
	require.Zero(t, Position(0))
	require.Equal(t, ^uint64(0), Position(^uint64(0)))
	require.Equal(t, uint64(0x3f)<<58, Position(0x3f))
	require.Equal(t, uint64(0x3f)<<52, Position(0x3f<<6))
	require.Equal(t, uint64(0xf), Position(0xf<<60))
	for depth := range maxDepth {
		for i := range uint64(16) {
			require.Equal(t, i, indexAt(Position(i<<(levelBits*depth)), depth))
		}
	}
}
