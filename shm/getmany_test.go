package shm_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/shm"
)

func TestGetMany(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		for i := range 500 {
			if i%3 != 0 {
				require.NoError(t, s.Set(numbered(i), bytes.Repeat([]byte{byte(i)}, i)))
			}
		}
		for _, n := range []int{0, 1, 2, 63, 64, 65, 128, 129, 500} {
			keys := make([][]byte, n)
			for i := range keys {
				keys[i] = numbered(i * 7 % 500)
			}
			if n > 2 {
				keys[2] = keys[1] // twice the same
			}
			next := 0
			require.NoError(t, s.GetMany(keys, func(i int, value []byte, ok bool) {
				require.Equal(t, next, i, "in order")
				next++
				k := i * 7 % 500
				if i == 2 {
					k = 7
				}
				require.Equal(t, k%3 != 0, ok)
				if ok {
					require.Equal(t, bytes.Repeat([]byte{byte(k)}, k), value)
				} else {
					require.Nil(t, value)
				}
				// All of it is one version, whatever fn does.
				set(t, other, string(numbered(k)), "changed")
				require.NoError(t, other.Set(numbered(k), bytes.Repeat([]byte{byte(k)}, k)))
				if k%3 == 0 {
					_, err := other.Delete(numbered(k))
					require.NoError(t, err)
				}
			}))
			require.Equal(t, n, next)
		}
		require.NoError(t, s.GetMany([][]byte{nil}, func(_ int, _ []byte, ok bool) { require.False(t, ok) }))
	})
}

func TestGetManyIsOneVersion(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		keys := make([][]byte, 200)
		for i := range keys {
			keys[i] = numbered(i)
		}
		all := func(value string) {
			require.NoError(t, other.Update(func(tx *shm.Tx) error {
				for _, key := range keys {
					require.NoError(t, tx.Set(key, []byte(value)))
				}
				return nil
			}))
		}
		all("before")
		require.NoError(t, s.GetMany(keys, func(i int, value []byte, _ bool) {
			if i == 0 {
				all("after")
			}
			require.Equal(t, "before", string(value))
		}))
	})
}

// The iterator says the same as the calls one by one, can be stopped, and sees one
// version.
func TestSnapshotGetMany(t *testing.T) {
	stores(t, func(t *testing.T, s, other *shm.Store) {
		for i := range 200 {
			require.NoError(t, s.Set(numbered(i), bytes.Repeat([]byte{'v'}, i%3)))
		}
		keys := make([][]byte, 300)
		for i := range keys {
			keys[i] = numbered(i * 7 % 300)
		}
		sn, err := s.Snapshot()
		require.NoError(t, err)
		require.NoError(t, other.Set(numbered(7), []byte("later")))
		for _, n := range []int{0, 1, 63, 64, 65, 300} {
			next := 0
			for i, value := range sn.GetMany(keys[:n]) {
				require.Equal(t, next, i)
				next++
				want, err := sn.Get(keys[i])
				require.Equal(t, err == nil, value != nil, "an empty value is not nil")
				require.Equal(t, string(want), string(value))
			}
			require.Equal(t, n, next)
			require.NoError(t, sn.Err())
		}
		for _, stop := range []int{0, 1, 64, 100} {
			last := -1
			for i := range sn.GetMany(keys) {
				if last = i; i == stop {
					break
				}
			}
			require.Equal(t, stop, last)
		}
		require.NoError(t, sn.Err())
		for i := range sn.GetMany(keys) {
			require.Zero(t, i)
			require.NoError(t, sn.Close())
		}
		require.ErrorIs(t, sn.Err(), shm.ErrClosed)
	})
}
