package shm_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/shm"
)

// Handles with huge pages and prefaulted ones see the same store as others, and
// opening them gives holes no memory.
func TestHugePagesAndPrefault(t *testing.T) {
	const n = 60_000
	s := memoryStore(t)
	key, value := make([]byte, 16), make([]byte, 100)
	for base := 0; base < n; base += 1000 {
		require.NoError(t, s.Update(func(tx *shm.Tx) error {
			for i := base; i < base+1000; i++ {
				if err := tx.Set(spaceKey(key, i), fmt.Appendf(value[:0], "value %d", i)); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	for i := n / 10; i < n; i++ { // leaves holes
		_, err := s.Delete(spaceKey(key, i))
		require.NoError(t, err)
	}
	before := writeUntil(t, s, func(st shm.Stats) bool { return st.AllocatedBytes < st.FileBytes/2 }) // it has holes
	for _, o := range []shm.Options{
		{HugePages: true}, {Prefault: true}, {HugePages: true, Prefault: true},
		{HugePages: true, Prefault: true, ReadOnly: true},
	} {
		other, err := shm.Open(s.Path(), &o)
		require.NoError(t, err, "%+v", o)
		require.LessOrEqual(t, other.Stats().AllocatedBytes, before.AllocatedBytes, "%+v: opening takes memory", o)
		for i := range n / 10 {
			got, err := other.Get(spaceKey(key, i))
			require.NoError(t, err)
			require.Equal(t, fmt.Sprintf("value %d", i), string(got))
		}
		if !o.ReadOnly {
			require.NoError(t, other.Set([]byte("by"), fmt.Appendf(nil, "%+v", o)))
			got, err := s.Get([]byte("by"))
			require.NoError(t, err)
			require.Equal(t, fmt.Sprintf("%+v", o), string(got))
		}
		before.AllocatedBytes = s.Stats().AllocatedBytes
		require.NoError(t, other.Close())
	}
	sound(t, s)
}

// TryHugePages tells what Open with HugePages does.
func TestTryHugePages(t *testing.T) {
	require.ErrorIs(t, shm.TryHugePages(t.TempDir()+"/missing"), os.ErrNotExist)
	dir := testdir.Memory(t)
	if err := shm.TryHugePages(dir); err != nil {
		t.Skipf("there are no huge pages here: %v", err)
	}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
}
