package shm_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/shm"
)

func TestDroppedSpaceComesBack(t *testing.T) {
	t.Parallel()
	s := fileStore(t, nil)
	empty := s.Stats().LiveBytes
	for _, drop := range []string{"hash", "ordered"} {
		require.NoError(t, s.Update(func(tx *shm.Tx) error {
			c := txCalls(tx.Map("hash"))
			if drop == "ordered" {
				c = tx.Ordered("ordered")
			}
			for i := range 5000 {
				if err := c.Set(numbered(i), make([]byte, 100)); err != nil {
					return err
				}
			}
			return nil
		}))
		_, err := s.DropMap(drop)
		require.NoError(t, err)
		full := s.Stats().LiveBytes
		require.Greater(t, full, empty+5000*100, "DropMap itself takes little apart")
		for i := 0; s.Stats().LiveBytes > empty+1000; i++ {
			require.NoError(t, s.Set([]byte("key"), fmt.Append(nil, i)))
			require.Less(t, i, 1000)
		}
		sound(t, s)
	}
}

func TestDropMakesRoom(t *testing.T) {
	t.Parallel()
	for i := range 16 {
		kind, inTx, toLast := []shm.Kind{shm.KindHash, shm.KindOrdered}[i%2], i/2%2 == 1, i >= 4
		s := fileStore(t, &shm.Options{MaxSize: 1 << 20})
		c := mapCalls(s.Map("m"))
		if kind == shm.KindOrdered {
			c = s.Ordered("m")
		}
		var err error
		n := 0
		for ; err == nil; n++ {
			err = c.Set(numbered(n), make([]byte, 1000))
		}
		require.ErrorIs(t, err, shm.ErrFull)
		for size, j := 300, 0; toLast && size >= 0; size -= 10 {
			for err = nil; err == nil; j++ {
				err = c.Set(fmt.Append(nil, j), make([]byte, size))
			}
			require.ErrorIs(t, err, shm.ErrFull)
		}
		existed := false
		if inTx {
			err = s.Update(func(tx *shm.Tx) (err error) { existed, err = tx.Map("m").Drop(); return err })
		} else {
			existed, err = s.DropMap("m")
		}
		require.NoError(t, err)
		require.True(t, existed)
		for i := range n * 8 / 10 {
			err := s.Set(numbered(i), make([]byte, 1000))
			if toLast { // the keeper may hold the last blocks for a moment
				for began := time.Now(); errors.Is(err, shm.ErrFull) && time.Since(began) < 30*time.Second; time.Sleep(time.Millisecond) {
					err = s.Set(numbered(i), make([]byte, 1000))
				}
			}
			require.NoError(t, err, "%d of %d, %v", i, n, kind)
		}
		sound(t, s)
	}
}

func TestManyMaps(t *testing.T) {
	t.Parallel()
	s := fileStore(t, nil)
	const n = 100_000
	require.NoError(t, s.Update(func(tx *shm.Tx) error {
		for i := range n {
			c := txCalls(tx.Map(fmt.Sprintf("user %08d", i)))
			if i%2 == 1 {
				c = tx.Ordered(fmt.Sprintf("user %08d", i))
			}
			if err := c.Set([]byte("key"), []byte("value")); err != nil {
				return err
			}
		}
		return nil
	}))
	require.LessOrEqual(t, s.Stats().LiveBytes, int64(300*n))
	require.Less(t, s.Stats().AllocatedBytes, int64(400*n))
	maps, err := s.Maps()
	require.NoError(t, err)
	require.Len(t, maps, n)
	for i, m := range maps {
		kind := shm.KindHash
		if i%2 == 1 {
			kind = shm.KindOrdered
		}
		require.Equal(t, shm.MapInfo{Name: fmt.Sprintf("user %08d", i), Kind: kind, Entries: 1, DataBytes: 8}, m)
	}
	sound(t, s)
}

func TestNamesOfOneHash(t *testing.T) {
	all := heapStores(t, 16<<20, 1)
	s := all[0]
	s.SetHash(func(key []byte) uint64 { return uint64(len(key)) })
	const n = 300
	names := []string{"a", "b", "c", "d"}
	m := func(name string) mapCalls {
		if name < "c" {
			return s.Map(name)
		}
		return s.Ordered(name)
	}
	value := func(name string, i int) []byte { return fmt.Appendf(nil, "%s%0200d", name, i) }
	for i := range n {
		for _, name := range names {
			require.NoError(t, m(name).Set(fmt.Append(nil, i), value(name, i)))
		}
	}
	for i := range n {
		for _, name := range names {
			if i%10 != 0 {
				_, err := m(name).Delete(fmt.Append(nil, i))
				require.NoError(t, err)
			}
		}
	}
	c, err := s.Compact(t.Context(), nil)
	require.NoError(t, err)
	require.Greater(t, c.Moved, int64(2*n/10), "entries of all maps were moved")
	for _, name := range names {
		require.Equal(t, n/10, m(name).Len())
		for i := 0; i < n; i += 10 {
			got, err := m(name).Get(fmt.Append(nil, i))
			require.NoError(t, err)
			require.Equal(t, value(name, i), got)
		}
	}
	existed, err := s.DropMap("b")
	require.NoError(t, err)
	require.True(t, existed)
	infos, err := s.Maps()
	require.NoError(t, err)
	require.Len(t, infos, 3)
	require.Zero(t, s.Map("b").Len())
	require.Equal(t, n/10, s.Map("a").Len())
	sound(t, s)
}

func TestCompactOfNamedMaps(t *testing.T) {
	s := fileStore(t, &shm.Options{MaxSize: 64 << 20})
	require.NoError(t, s.Update(func(tx *shm.Tx) error {
		for i := range 20_000 {
			key := numbered(i)
			require.NoError(t, tx.Map("h").Set(key, make([]byte, 100)))
			require.NoError(t, tx.Ordered("o").Set(key, make([]byte, 100)))
			if i < 2000 {
				require.NoError(t, tx.Map(string(key)).Set(nil, nil))
			}
		}
		return nil
	}))
	for i := range 2000 {
		if i%20 != 0 {
			_, err := s.DropMap(string(numbered(i)))
			require.NoError(t, err)
		}
	}
	require.NoError(t, s.Update(func(tx *shm.Tx) error {
		for i := range 20_000 {
			if i%20 != 0 {
				_, err := tx.Map("h").Delete(numbered(i))
				require.NoError(t, err)
				_, err = tx.Ordered("o").Delete(numbered(i))
				require.NoError(t, err)
			}
		}
		return nil
	}))
	c, err := s.Compact(t.Context(), nil)
	require.NoError(t, err)
	require.Less(t, c.After, 2*s.Stats().LiveBytes+1<<20)
	rep := sound(t, s)
	require.Equal(t, int64(2100), rep.Entries)
	for i := 0; i < 20_000; i += 20 {
		for _, m := range []mapCalls{s.Map("h"), s.Ordered("o")} {
			has, err := m.Has(numbered(i))
			require.NoError(t, err)
			require.True(t, has)
		}
	}
}
