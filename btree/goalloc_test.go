//go:build !race

package btree

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/nodetest"
	"github.com/seed-869cc763/shmkv/node"
)

const slow = 1

// TestNoGoAllocations checks that writes and lookups do not allocate on the Go heap.
func TestNoGoAllocations(t *testing.T) {
	h := nodetest.New(t, 64<<20)
	h.Careless = true
	h.Log = make([]uint64, 0, 1<<20)
	tx := &Tx{}
	tx.Reset(reader(h), h, node.Tree{})
	var keys [][]byte
	for i := range 2000 {
		keys = append(keys, fmt.Append(nil, "key ", i))
	}
	value := make([]byte, 100)
	for range 3 { // warms up the free lists of the test's heap
		for _, k := range keys {
			_, _, _ = tx.Set(k, value)
		}
		for _, k := range keys {
			_, _, _ = tx.Delete(k)
		}
	}
	i := 0
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		k := keys[i%len(keys)]
		i++
		_, _, _ = tx.Set(k, value)
		_, _ = tx.Reader().Find(tx.Root, k)
		_, _ = tx.Reader().Near(tx.Root, k, Higher)
		_, _, _ = tx.Reader().Rank(tx.Root, k)
	}))
	require.Zero(t, testing.AllocsPerRun(500, func() {
		i--
		k := keys[i%len(keys)]
		_, _, _ = tx.Delete(k)
	}))
}
