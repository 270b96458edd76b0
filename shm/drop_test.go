package shm

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/alloc"
)

// mapsOf returns a new store on the heap with n maps of one entry each.
func mapsOf(t testing.TB, n int) (*alloc.Heap, *Store) {
	h, s := plainStore(t, 16<<20)
	require.NoError(t, s.Update(func(tx *Tx) error {
		for i := range n {
			require.NoError(t, tx.Map(fmt.Sprint(i)).Set([]byte("key"), []byte("value")))
		}
		return nil
	}))
	return h, s
}

// dropOnly drops a map and takes nothing of it apart.
func dropOnly(t testing.TB, s *Store, name string) {
	w, err := s.writer(alloc.Brief | alloc.Frees)
	require.NoError(t, err)
	dropped, err := w.dropMap(name)
	require.NoError(t, err)
	require.True(t, dropped)
	w.slot.End()
	w.release()
}

// takeApart makes one step of taking dropped maps apart.
func takeApart(s *Store) error {
	w, err := s.writer(alloc.Brief | alloc.Frees)
	if err != nil {
		return err
	}
	defer w.release()
	return w.takeApart()
}

// isDropped reports whether there are dropped maps.
func isDropped(s *Store) bool {
	root, _, _ := s.rootNow()
	return root.dropped != 0
}

// A transaction that has grown the store, as one that applies a difference does, finds maps
// after it has dropped others: its own nodes of the directory lie in the new part.
func TestDropsAfterGrowth(t *testing.T) {
	for n := 4; n < 40; n++ {
		h, s := mapsOf(t, n)
		require.NoError(t, s.Close())
		s, _, err := AttachHeap(h, "heap")
		require.NoError(t, err)
		require.NoError(t, s.Update(func(tx *Tx) error {
			for i := range 30 {
				require.NoError(t, tx.Set(fmt.Append(nil, i), make([]byte, 20_000)))
			}
			for i := range 3 {
				to := s.target(fmt.Sprint(i), 0)
				there, err := tx.drop(&to)
				require.NoError(t, err)
				require.True(t, there)
			}
			_, err := tx.Map("3").Get([]byte("key"))
			require.NoError(t, err)
			_, err = tx.Map("0").Get([]byte("key"))
			require.Equal(t, ErrNotFound, err)
			return nil
		}))
		infos, err := s.Maps()
		require.NoError(t, err)
		require.Len(t, infos, n-3)
		requireSound(t, s)
		require.NoError(t, s.Close())
	}
}

// A record of a dropped map that stands where its key does not lead, in a damaged store, is
// not taken for one that was deleted: else the next step would free its blocks again.
func TestMisplacedDroppedRecord(t *testing.T) {
	for _, entries := range []int{1, 3 * dropStep} { // one whose last step it is, and another one
		_, s := plainStore(t, 16<<20)
		require.NoError(t, s.Update(func(tx *Tx) error {
			for i := range entries {
				require.NoError(t, tx.Map("m").Set(fmt.Append(nil, i), nil))
			}
			return nil
		}))
		dropOnly(t, s, "m")
		w, err := s.writer(0)
		require.NoError(t, err)
		require.NoError(t, w.begin())
		key, table, err := w.firstDropped()
		require.NoError(t, err)
		require.NoError(t, w.deleteRecord(&w.root.dropped, s.hashOf(key), key))
		_, err = w.setRecord(&w.root.dropped, ^s.hashOf(key), key, mapRecord{table.to.kind, table.now})
		require.NoError(t, err)
		won, err := w.commit(0)
		require.NoError(t, err)
		require.True(t, won)
		w.slot.End()
		w.release()

		version := s.Version()
		for range 2 {
			require.ErrorIs(t, takeApart(s), ErrCorrupt)
		}
		require.Equal(t, version, s.Version())
		require.NoError(t, s.Set([]byte("key"), nil), "writers go on")
	}
}

// Compact takes dropped maps apart to the end, of both kinds.
func TestCompactTakesMapsApart(t *testing.T) {
	_, s := plainStore(t, 16<<20)
	require.NoError(t, s.Set([]byte("key"), nil))
	live := s.Stats().LiveBytes
	require.NoError(t, s.Update(func(tx *Tx) error {
		for i := range 5 * dropStep {
			key := fmt.Append(nil, i)
			require.NoError(t, tx.Map("m").Set(key, key))
			require.NoError(t, tx.Ordered("o").Set(key, key))
		}
		return nil
	}))
	dropOnly(t, s, "m")
	dropOnly(t, s, "o")
	require.True(t, isDropped(s))
	requireSound(t, s)

	ended, end := context.WithCancel(t.Context())
	end()
	_, err := s.Compact(ended, nil)
	require.ErrorIs(t, err, context.Canceled)
	require.True(t, isDropped(s))

	_, err = s.Compact(t.Context(), nil)
	require.NoError(t, err)
	require.False(t, isDropped(s))
	require.Equal(t, live, s.Stats().LiveBytes)
	requireSound(t, s)
}

// A name may be dropped again before its last map was taken apart.
func TestTwoDropsOfOneName(t *testing.T) {
	_, s := plainStore(t, 16<<20)
	for i, kind := range []Kind{KindHash, KindOrdered, KindOrdered} {
		to := s.target("m", kind)
		require.NoError(t, s.Update(func(tx *Tx) error {
			m := &txKeyed{tx: tx, to: &to}
			for i := range 4 * dropStep {
				require.NoError(t, m.Set(fmt.Append(nil, i), nil))
			}
			return nil
		}))
		dropOnly(t, s, "m")
		requireSound(t, s)
		root, _, _ := s.rootNow()
		records := 0
		require.NoError(t, eachRecord(s.reader(), root.dropped, func(key []byte, _ mapRecord) error {
			require.Equal(t, "m", string(droppedName(key)))
			records++
			return nil
		}))
		require.Equal(t, i+1, records)
	}
	for isDropped(s) {
		require.NoError(t, takeApart(s))
		requireSound(t, s)
	}
	require.Zero(t, s.Stats().LiveBytes)
}

// Each commit is followed by a step that takes a dropped map apart, whatever commits.
func TestCommitsTakeMapsApart(t *testing.T) {
	for name, write := range map[string]func(s *Store, i int) error{
		"set": func(s *Store, i int) error { return s.Set([]byte("key"), fmt.Append(nil, i)) },
		"add": func(s *Store, _ int) error { _, err := s.Add([]byte("key"), 1); return err },
		"update": func(s *Store, i int) error {
			return s.Update(func(tx *Tx) error { return tx.Set([]byte("key"), fmt.Append(nil, i)) })
		},
		"named": func(s *Store, i int) error { return s.Ordered("o").Set([]byte("key"), fmt.Append(nil, i)) },
		"large": func(s *Store, _ int) error { return s.Set([]byte("key"), Fresh(2*sharedMost)) },
	} {
		_, s := plainStore(t, 16<<20)
		require.NoError(t, s.Update(func(tx *Tx) error {
			for i := range 3 * dropStep {
				require.NoError(t, tx.Ordered("m").Set(fmt.Append(nil, i), nil))
			}
			return nil
		}))
		dropOnly(t, s, "m")
		for i := range 5 {
			require.NoError(t, write(s, i))
		}
		require.False(t, isDropped(s), name)
		requireSound(t, s)
	}
}

// A write that finds no space gets that of dropped maps.
func TestRoomOfDroppedMaps(t *testing.T) {
	_, s := plainStore(t, 4<<20)
	var err error
	for i := 0; err == nil; i++ {
		err = s.Ordered("m").Set(fmt.Append(nil, i), make([]byte, 3000))
	}
	require.ErrorIs(t, err, ErrFull)
	require.ErrorIs(t, s.Set([]byte("key"), make([]byte, 1<<20)), ErrFull)
	dropOnly(t, s, "m")
	require.NoError(t, s.Set([]byte("key"), make([]byte, 1<<20)))
	requireSound(t, s)
}
