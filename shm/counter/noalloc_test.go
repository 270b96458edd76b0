//go:build !race

package counter

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// A Get allocates nothing, and a batch that is used again only what a transaction and the
// handles of its maps need, whatever the number of its increments.
func TestAllocations(t *testing.T) {
	s := newStore(t)
	c := Open(s, "pages")
	key := []byte("/index")
	_, err := c.Add(key, 1)
	require.NoError(t, err)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if _, err := c.Get(key); err != nil {
			t.Error(err)
		}
	}))
	b, keyspace := NewBatch(s), []byte("pages")
	var keys [][]byte
	for i := range 1000 {
		keys = append(keys, fmt.Append(nil, i))
	}
	require.Less(t, testing.AllocsPerRun(20, func() {
		for _, key := range keys {
			b.Add(keyspace, key, 1)
		}
		if err := b.Commit(); err != nil {
			t.Error(err)
		}
		b.Reset()
	}), 40.0)
	require.Less(t, testing.AllocsPerRun(20, func() {
		if rows, err := c.Range(0, 100); err != nil || len(rows) != 100 {
			t.Error(len(rows), err)
		}
	}), 30.0)
}
