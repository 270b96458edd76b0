//go:build shmhook

package shm

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/alloc/region"
)

// A reader that may not pin tries again while reclaim overtakes it, and gives up
// with an error that says so if it always does (rule R4).
func TestOvertakenReader(t *testing.T) {
	h, err := alloc.NewHeap(1 << 20)
	require.NoError(t, err)
	h.SetEager()
	writer, _ := attachPlain(t, h)
	require.NoError(t, writer.Set([]byte("key"), []byte("value")))

	overtakes, commits := 0, 0
	a, err := h.AttachReadOnly(func(op region.Op, off uint64) {
		if op == region.OpFence && commits < overtakes { // right before the horizon is read again
			commits++
			require.NoError(t, writer.Set([]byte("other"), fmt.Append(nil, commits)))
		}
	})
	require.NoError(t, err)
	reader := newStore(a, "heap")
	for _, key := range []string{"key", "absent"} {
		commits, overtakes = 0, readOnlyTries/2
		got, err := reader.Append([]byte("before "), []byte(key))
		if key == "key" {
			require.NoError(t, err)
			require.Equal(t, "before value", string(got))
		} else {
			require.Equal(t, ErrNotFound, err)
			require.Equal(t, "before ", string(got))
		}
		require.Equal(t, overtakes, commits)

		commits, overtakes = 0, 10*readOnlyTries
		got, err = reader.Append([]byte("before "), []byte(key))
		require.ErrorIs(t, err, ErrCannotPin)
		require.ErrorContains(t, err, "too fast")
		require.Equal(t, "before ", string(got))
		require.Less(t, commits, 3*readOnlyTries) // a try reads the horizon again at most twice
	}
}

// What a snapshot holds is deferred once, and looked at again when that snapshot
// ends: many snapshots that are held do not make a write dearer by what they hold
// (rule L3).
func TestCostOfHeldBlocks(t *testing.T) {
	const keys, rounds, pins = 100, 20, 64
	cost := func(held int) (each []int) {
		h, err := alloc.NewHeap(16 << 20)
		require.NoError(t, err)
		accesses := 0
		a, _, err := h.Attach(func(region.Op, uint64) { accesses++ })
		require.NoError(t, err)
		s := newStore(a, "heap")
		write := func() {
			for k := range keys {
				require.NoError(t, s.Set(fmt.Appendf(nil, "key%d", k), Fresh(100)))
			}
		}
		write()
		for range held {
			write() // so that every snapshot holds a whole version of its own
			_, err := s.Snapshot()
			require.NoError(t, err)
		}
		for range rounds {
			accesses = 0
			write()
			each = append(each, accesses/keys)
		}
		checkSound(t, s)
		return each
	}
	none, many := cost(0), cost(pins)
	t.Logf("accesses of a set, without a snapshot: %d; with %d held: %d", none, pins, many)
	for _, n := range many[1:] { // the first round defers what is held
		require.Less(t, n, slices.Max(none[rounds/4:])*3/2)
	}
}

// A set that is refused looks for slabs to empty. The next ones do not, as long as
// nothing has changed: they cost little. Once space was freed, they look again.
func TestCostOfRefusedSets(t *testing.T) {
	for _, size := range []int{100, 400, 500, 1000} {
		t.Run(fmt.Sprintf("values of %d bytes", size), func(t *testing.T) { costOfRefusedSets(t, make([]byte, size)) })
	}
}

func costOfRefusedSets(t *testing.T, value []byte) {
	h, err := alloc.NewHeap(4 << 20)
	require.NoError(t, err)
	accesses := 0
	a, _, err := h.Attach(func(region.Op, uint64) { accesses++ })
	require.NoError(t, err)
	s := newStore(a, "heap")
	n := 0
	for ; err == nil; n++ {
		accesses = 0
		err = s.Set(fmt.Appendf(nil, "key%06d", n), value)
	}
	require.ErrorIs(t, err, ErrFull)
	first, version, next := accesses, s.Version(), 0
	for range 10 {
		accesses = 0
		require.ErrorIs(t, s.Set(fmt.Appendf(nil, "key%06d", n-1), value), ErrFull)
		next = max(next, accesses)
	}
	t.Logf("accesses of the first set that is refused: %d, of those that follow: at most %d", first, next)
	require.Less(t, next, first/3)
	require.Equal(t, version, s.Version(), "nothing is moved for nothing")
	for i := range n / 20 {
		_, err := s.Delete(fmt.Appendf(nil, "key%06d", i*20))
		require.NoError(t, err)
	}
	require.NoError(t, s.Set([]byte("larger"), make([]byte, 3000)))
	checkSound(t, s)
}
