package shm_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/shm"
)

// Extents follow each other without gaps, and their sums are those of the
// ledger, which is found in another way.
func TestExtents(t *testing.T) {
	s, err := shm.Open(t.TempDir(), &shm.Options{MaxSize: 64 << 20})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	sizes := []int{0, 10, 100, 1000, 5000, 20_000, 100_000}
	for i := range 3000 {
		require.NoError(t, s.Set(fmt.Append(nil, i%1000), make([]byte, sizes[i%len(sizes)]*(1+i%3)/3)))
		if i%5 == 0 {
			_, err := s.Delete(fmt.Append(nil, i/2))
			require.NoError(t, err)
		}
	}
	look := func() (sums map[string]int64, kinds map[shm.ExtentKind]int64) {
		t.Helper()
		sums, kinds = map[string]int64{}, map[shm.ExtentKind]int64{}
		end := int64(0)
		x := s.Inspect().Extents(t.Context())
		for e := range x.All() {
			require.Equal(t, end, e.Offset)
			require.Positive(t, e.Bytes)
			end += e.Bytes
			kinds[e.Kind] += e.Bytes
			block := int64(e.Blocks) * e.BlockBytes
			require.LessOrEqual(t, block, e.Bytes)
			sums["used"] += int64(e.Blocks-e.Free-e.Retired) * e.BlockBytes
			sums["retired"] += int64(e.Retired) * e.BlockBytes
			switch e.Kind {
			case shm.ExtentSlab, shm.ExtentRun:
				require.Positive(t, e.Blocks)
				sums["free"] += int64(e.Free) * e.BlockBytes
				sums["rounding"] += e.Bytes - block
			case shm.ExtentFree, shm.ExtentHole, shm.ExtentReserve:
				sums["free"] += e.Bytes
			default:
				sums["tables"] += e.Bytes
			}
		}
		require.NoError(t, x.Err())
		require.Equal(t, s.Stats().FileBytes, end)
		return sums, kinds
	}
	same := func() {
		t.Helper()
		sums, kinds := look()
		rep, err := s.Check(t.Context(), nil)
		require.NoError(t, err)
		require.Equal(t, map[string]int64{"used": rep.LiveBytes, "retired": rep.RetiredBytes, "free": rep.FreeBytes,
			"tables": rep.TableBytes, "rounding": rep.RoundingBytes}, sums)
		require.Zero(t, kinds[shm.ExtentOther])
		for _, kind := range []shm.ExtentKind{shm.ExtentTable, shm.ExtentSlab, shm.ExtentRun, shm.ExtentList, shm.ExtentSlot} {
			require.Positive(t, kinds[kind], kind)
		}
	}
	same()

	// What a snapshot holds is retired, not free.
	before, _ := look()
	sn, err := s.Snapshot()
	require.NoError(t, err)
	for i := range 1000 {
		require.NoError(t, s.Set(fmt.Append(nil, i), make([]byte, 500)))
	}
	after, _ := look()
	require.Greater(t, after["retired"], before["retired"]+1<<20)
	same()
	require.NoError(t, sn.Close())
	same()
}

func TestExtentsEndEarly(t *testing.T) {
	s, err := shm.Open(t.TempDir(), nil)
	require.NoError(t, err)
	x := s.Inspect().Extents(t.Context())
	for range x.All() {
		break
	}
	require.NoError(t, x.Err(), "a break is no error")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, extents(ctx, s), context.Canceled)
	require.NoError(t, s.Close())
	require.ErrorIs(t, extents(t.Context(), s), shm.ErrClosed)
}

// extents loops over all extents.
func extents(ctx context.Context, s *shm.Store) error {
	x := s.Inspect().Extents(ctx)
	for range x.All() {
	}
	return x.Err()
}
