//go:build shmhook

package shm

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/alloc/layout"
	"github.com/seed-869cc763/shmkv/alloc/region"
)

// A read that writers overtake counts each try that it repeats.
func TestTallyOfRepeatedReads(t *testing.T) {
	h, err := alloc.NewHeap(4 << 20)
	require.NoError(t, err)
	h.SetEager()
	writer, _ := attachPlain(t, h)
	key := []byte("key")
	require.NoError(t, writer.Set(key, []byte("0")))
	s, hook := hookedStore(t, h)
	overtaken := 0
	*hook = func(op region.Op, off uint64) {
		if op == region.OpLoad && off == layout.OffEnd && overtaken < 2 {
			overtaken++
			for i := range 10 {
				require.NoError(t, writer.Set(key, fmt.Append(nil, overtaken, i)))
			}
		}
	}
	v, err := s.Get(key)
	require.NoError(t, err)
	require.Equal(t, "2 9", string(v))
	require.Equal(t, Tally{Repeated: 2}, s.Tally())
	_, err = s.Get(key)
	require.NoError(t, err)
	require.Equal(t, Tally{}, s.Tally().Sub(Tally{Repeated: 2}))
	*hook = nil
	require.NoError(t, s.Close())
	require.NoError(t, writer.Close())
}
