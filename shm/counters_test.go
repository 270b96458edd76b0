package shm_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/alloc/layout"
	"github.com/seed-869cc763/shmkv/shm"
)

func TestCountersCountWhatIsDone(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		require.Zero(t, s.Stats().Counters)
		set(t, s, "a", "1")
		set(t, other, "b", "1")
		for _, key := range []string{"a", "a"} {
			_, err := s.Delete([]byte(key)) // the second time there is nothing to commit
			require.NoError(t, err)
		}
		require.NoError(t, s.Update(func(tx *shm.Tx) error {
			for i := range 10 {
				require.NoError(t, tx.Set([]byte{byte(i)}, nil))
			}
			for _, key := range []string{"\x03", "absent"} {
				_, err := tx.Delete([]byte(key))
				require.NoError(t, err)
			}
			return nil
		}))
		swapped, err := other.CompareAndSwap([]byte("b"), []byte("1"), []byte("2"))
		require.NoError(t, err)
		require.True(t, swapped)
		require.NoError(t, s.Update(func(tx *shm.Tx) error { return nil }))
		require.Error(t, s.Update(func(tx *shm.Tx) error {
			require.NoError(t, tx.Set([]byte("c"), nil))
			return errors.New("no")
		}))

		st := other.Stats()
		require.Equal(t, shm.Counters{Commits: 5, Changes: 15}, st.Counters)
		require.Equal(t, st.Commits, st.Version-1)
	})
}

// Who loses a commit counts it, once for each, whatever it writes.
func TestCountersOfLostCommits(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		tries := 0
		overtaken := func() {
			if tries++; tries < 3 {
				set(t, other, "k", fmt.Sprint(tries))
			}
		}
		require.NoError(t, s.Update(func(tx *shm.Tx) error {
			overtaken()
			return tx.Set([]byte("k"), []byte("of Update"))
		}))
		require.Equal(t, uint64(2), s.Stats().Lost)
		tries = 0
		require.NoError(t, s.Modify([]byte("k"), func([]byte, bool) ([]byte, bool) {
			overtaken()
			return []byte("of Modify"), true
		}))
		require.Equal(t, uint64(4), s.Stats().Lost)
		require.Equal(t, uint64(6), s.Stats().Commits)
	})
}

// What is replaced is freed, or deferred while a snapshot needs it.
func TestCountersOfReclaim(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		for i := range 500 {
			set(t, s, fmt.Sprint(i%50), fmt.Sprint(i))
		}
		st := s.Stats()
		require.Greater(t, st.FreedBlocks, uint64(500))
		require.Zero(t, st.DeferredBlocks)
		require.NoError(t, other.View(func(*shm.Snapshot) error {
			for i := range 500 {
				set(t, s, fmt.Sprint(i%50), fmt.Sprint(i))
			}
			return nil
		}))
		d := s.Stats().Sub(st)
		require.GreaterOrEqual(t, d.DeferredBlocks, uint64(50))
		require.Less(t, d.DeferredBlocks, d.FreedBlocks)
		require.Equal(t, uint64(500), d.Commits)
		require.Equal(t, s.Version(), d.Version, "a gauge is the newer one's")
	})
}

func TestCountersOfSpace(t *testing.T) {
	t.Parallel()
	s := fileStore(t, &shm.Options{MaxSize: 1 << 20})
	var err error
	for i := 0; err == nil; i++ {
		err = s.Set(fmt.Append(nil, i), make([]byte, 10000))
	}
	require.ErrorIs(t, err, shm.ErrFull)
	st := s.Stats()
	require.Equal(t, uint64(1), st.Refused)
	require.Equal(t, uint64(s.Len()), st.Commits)
	require.ErrorIs(t, s.Update(func(tx *shm.Tx) error { return tx.Set([]byte("big"), make([]byte, 1<<18)) }), shm.ErrFull)
	require.Equal(t, uint64(1), s.Stats().Sub(st).Refused)

	for i := range s.Len() {
		_, err := s.Delete(fmt.Append(nil, i))
		require.NoError(t, err)
	}
	settled(t, s, idle, func(st shm.Stats) bool { return st.PunchedPages > 32 })
}

// A process finds what those before it have counted.
func TestCountersOutliveProcesses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	for i := range uint64(3) {
		s, err := shm.Open(path, nil)
		require.NoError(t, err)
		require.Equal(t, 2*i, s.Stats().Commits)
		set(t, s, "k", fmt.Sprint(i))
		set(t, s, "l", fmt.Sprint(i))
		require.NoError(t, s.Close())
	}
	s, err := shm.Open(path, &shm.Options{ReadOnly: true})
	require.NoError(t, err)
	require.Equal(t, uint64(6), s.Stats().Commits)
	require.Equal(t, uint64(6), s.Stats().Changes)
	require.NoError(t, s.Close())
	require.Zero(t, s.Stats())
}

// The adopter of a dead process counts each slot that it puts in order.
func TestCountersOfAdoption(t *testing.T) {
	h, err := alloc.NewHeap(4 << 20)
	require.NoError(t, err)
	dead, die, err := shm.AttachHeap(h, "heap")
	require.NoError(t, err)
	for i := range 7 {
		set(t, dead, fmt.Sprint(i), "v")
	}
	die()
	s, _, err := shm.AttachHeap(h, "heap")
	require.NoError(t, err)
	_, err = s.Inspect().Adopt()
	require.NoError(t, err)
	require.Equal(t, uint64(1), s.Stats().AdoptedSlots)
	require.Equal(t, uint64(7), s.Stats().Commits, "the dead one's count")
	require.NoError(t, s.Close())
}

func TestCountersByProcess(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		find := func(self bool) shm.Process {
			all, err := s.Inspect().Processes()
			require.NoError(t, err)
			require.Len(t, all, 2)
			for _, p := range all {
				if p.Self == self {
					return p
				}
			}
			t.Fatal("not there")
			return shm.Process{}
		}
		set(t, s, "a", "1")
		require.Empty(t, find(false).Slots)
		set(t, other, "b", "1")
		me, they := find(true), find(false)
		require.Len(t, me.Slots, 1)
		require.Len(t, they.Slots, 1)
		require.NotEqual(t, me.Slots[0].Slot, they.Slots[0].Slot)
		require.True(t, me.Same(find(true)))
		require.False(t, me.Same(they))
		for i := range 3 {
			set(t, other, "c", fmt.Sprint(i))
		}
		require.Zero(t, find(true).Sub(me))
		require.Equal(t, shm.Counters{Commits: 3, Changes: 3}, find(false).Sub(they))
		require.Zero(t, find(false).Sub(me), "in slots that it did not have nothing is told yet")
	})
}

func TestCountersSub(t *testing.T) {
	low, high := shm.Counters{Commits: 1}, shm.Counters{Commits: math.MaxUint64, Lost: 7}
	require.Equal(t, shm.Counters{Commits: math.MaxUint64 - 1, Lost: 7}, high.Sub(low))
	require.Zero(t, low.Sub(high))

	b, err := json.Marshal(shm.Stats{Version: 2, Counters: high})
	require.NoError(t, err)
	require.Contains(t, string(b), `"version":2,`)
	require.Contains(t, string(b), `"commits":18446744073709551615,`)
}

// Counters of a damaged store are any numbers, and nothing else goes wrong.
func TestCountersDamaged(t *testing.T) {
	h, err := alloc.NewHeap(1 << 20)
	require.NoError(t, err)
	s, _, err := shm.AttachHeap(h, "heap")
	require.NoError(t, err)
	set(t, s, "k", "v")
	old := s.Stats()
	m := h.Mem()
	page := m.Word(layout.OffDir)
	for i := range uint64(8) {
		m.SetWord(page+layout.SlotCounts+8*i, math.MaxUint64)
	}
	require.Equal(t, uint64(math.MaxUint64), s.Stats().Commits)
	set(t, s, "k", "w")
	require.Zero(t, s.Stats().Commits, "it begins anew")
	require.Zero(t, s.Stats().Sub(old).Commits)
	for _, dir := range []uint64{page | 1, page + 8, uint64(s.Stats().FileBytes), 1 << 40, math.MaxUint64 &^ 4095} {
		m.SetWord(layout.OffDir, dir)
		require.Equal(t, old.Version+1, s.Stats().Version)
		require.Zero(t, s.Stats().Counters, "%#x", dir)
	}
	m.SetWord(layout.OffDir, page)
	require.NoError(t, s.Close())
}
