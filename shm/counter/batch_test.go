package counter

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
)

// After Reset nothing of the counters before is found, whether there were few or many.
func TestReset(t *testing.T) {
	b := NewBatch(newStore(t))
	for _, n := range []int{1, 3000, 5, 400, 0, 1, 3000, 3000} {
		for round := range 2 {
			for i := range n {
				require.Equal(t, round*n+i, b.Add([]byte{byte(i % 3)}, binary.BigEndian.AppendUint32(nil, uint32(i)), 1))
			}
			require.Len(t, b.keys, n)
		}
		b.Reset()
		require.Equal(t, make([]int32, len(b.table)), b.table)
	}
}
