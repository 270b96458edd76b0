package shm_test

import (
	"encoding/binary"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/shm"
)

// manyKeyed is the calls on many keys of a map of a transaction.
type manyKeyed interface {
	Set(key, value []byte) error
	Get(key []byte) ([]byte, error)
	GetMany(keys [][]byte) iter.Seq2[int, []byte]
	Delete(key []byte) (existed bool, err error)
}

// GetMany of a transaction finds what Get of each key does, in maps of all kinds, small and large
// ones, and with the transaction's own writes.
func TestTxGetMany(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, size := range []int{0, 50, 30_000} {
		s, err := shm.Open(t.TempDir(), &shm.Options{Checkpoint: shm.OnSync()})
		require.NoError(t, err)
		for kind, of := range map[string]func(tx *shm.Tx) manyKeyed{
			"unnamed": func(tx *shm.Tx) manyKeyed { return tx },
			"hash":    func(tx *shm.Tx) manyKeyed { return tx.Map("m") },
			"ordered": func(tx *shm.Tx) manyKeyed { return tx.Ordered("o") },
		} {
			model := map[string]string{}
			key := func() []byte {
				return binary.BigEndian.AppendUint64([]byte("same bytes "), uint64(rng.IntN(2*size+20)))
			}
			set := func(m manyKeyed) {
				k, v := key(), fmt.Append(nil, rng.Uint64())
				require.NoError(t, m.Set(k, v))
				model[string(k)] = string(v)
			}
			require.NoError(t, s.Update(func(tx *shm.Tx) error {
				clear(model)
				for range size {
					set(of(tx))
				}
				return nil
			}))
			before := maps.Clone(model)
			require.NoError(t, s.Update(func(tx *shm.Tx) error {
				m := of(tx)
				model = maps.Clone(before) // a commit of the keeper may have overtaken the transaction
				for range 30 {
					for range rng.IntN(30) {
						set(m)
					}
					var keys [][]byte
					for range rng.IntN(100) {
						keys = append(keys, key())
					}
					seen := 0
					for i, value := range m.GetMany(keys) {
						require.Equal(t, seen, i)
						want, there := model[string(keys[i])]
						require.Equal(t, there, value != nil, kind)
						require.Equal(t, want, string(value), kind)
						seen++
					}
					require.Equal(t, len(keys), seen)
					for _, k := range keys[:len(keys)/2] {
						_, err := m.Delete(k)
						require.NoError(t, err)
						delete(model, string(k))
					}
				}
				for range m.GetMany([][]byte{key(), key()}) {
					break
				}
				return tx.Err()
			}))
		}
		report, err := s.Check(t.Context(), nil)
		require.NoError(t, err)
		require.Empty(t, report.Problems)
		require.NoError(t, s.Close())
	}
}

// On a map of another kind, and after the transaction, the loop of GetMany ends at once.
func TestTxGetManyRefused(t *testing.T) {
	s, err := shm.Open(t.TempDir(), nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	require.NoError(t, s.Ordered("o").Set([]byte("a"), nil))
	var later *shm.TxMap
	err = s.Update(func(tx *shm.Tx) error {
		later = tx.Map("m")
		for range tx.Map("o").GetMany([][]byte{[]byte("a")}) {
			t.Error("found a value in a map of another kind")
		}
		require.ErrorIs(t, tx.Err(), shm.ErrKind)
		return nil
	})
	require.ErrorIs(t, err, shm.ErrKind)
	for range later.GetMany([][]byte{[]byte("a")}) {
		t.Error("found a value after the transaction")
	}
}
