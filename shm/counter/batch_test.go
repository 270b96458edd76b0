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

// After Reset a batch holds none of the caller's keys, and no memory in proportion to long ones.
func TestResetReleases(t *testing.T) {
	b := NewBatch(newStore(t))
	for _, n := range []int64{1, 0} { // in the second commit nothing changes
		for i := range 100 {
			b.Add(nil, append(make([]byte, MaxKey-1), byte(i)), n)
		}
		require.NoError(t, b.Commit())
		b.Reset()
		require.LessOrEqual(t, cap(b.room), mostRoom)
		for _, e := range b.edits[:cap(b.edits)] {
			require.Zero(t, len(e.Key), "it holds memory that is not kept")
		}
		for _, key := range b.many[:cap(b.many)] {
			require.Nil(t, key)
		}
	}
}
