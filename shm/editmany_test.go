package shm_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/shm"
)

// EditMany does what Set and Delete do one by one, sorted or not, with the same keys several times,
// and among other writes of the transaction.
func TestEditMany(t *testing.T) {
	s, err := shm.Open(t.TempDir(), nil)
	require.NoError(t, err)
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 30 {
		require.NoError(t, s.Update(func(tx *shm.Tx) error {
			m, o := tx.Ordered("many"), tx.Ordered("single")
			for range 1 + rng.IntN(3) {
				edits := make([]shm.Edit, rng.IntN(700))
				for i := range edits {
					edits[i] = shm.Edit{
						Key: fmt.Appendf(nil, "key %04d", rng.IntN(2000)), Value: fmt.Append(nil, rng.IntN(3)),
						Delete: rng.IntN(5) < 1+round%4,
					}
				}
				if rng.IntN(3) > 0 {
					slices.SortStableFunc(edits, func(a, b shm.Edit) int { return bytes.Compare(a.Key, b.Key) })
				}
				want := 0
				for _, e := range edits {
					if !e.Delete {
						require.NoError(t, o.Set(e.Key, e.Value))
						continue
					}
					existed, err := o.Delete(e.Key)
					require.NoError(t, err)
					if existed {
						want++
					}
				}
				deleted, err := m.EditMany(edits)
				require.NoError(t, err)
				require.Equal(t, want, deleted)
				require.Equal(t, o.Len(), m.Len())
				key := fmt.Appendf(nil, "key %04d", rng.IntN(2000))
				require.NoError(t, m.Set(key, []byte("set")))
				require.NoError(t, o.Set(key, []byte("set")))
			}
			return nil
		}))
		require.Equal(t, entriesOf(t, s, "single"), entriesOf(t, s, "many"))
	}
	report, err := s.Check(t.Context(), nil)
	require.NoError(t, err)
	require.Empty(t, report.Problems)
	require.NoError(t, s.Close())
}

func entriesOf(t *testing.T, s *shm.Store, name string) (all []string) {
	require.NoError(t, s.View(func(sn *shm.Snapshot) error {
		v := sn.Ordered(name)
		for i := range v.Len() {
			key, value, err := v.At(i)
			require.NoError(t, err)
			all = append(all, string(key)+"="+string(value))
		}
		return nil
	}))
	return all
}

// Edits that change nothing make no commit, and one that is refused loses the transaction.
func TestEditManyRefused(t *testing.T) {
	s, err := shm.Open(t.TempDir(), nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	edit := func(edits ...shm.Edit) (deleted int, err error) {
		return deleted, s.Update(func(tx *shm.Tx) error {
			deleted, err = tx.Ordered("o").EditMany(edits)
			return nil // the transaction knows
		})
	}
	_, err = edit(shm.Edit{Key: []byte("a"), Value: []byte("1")}, shm.Edit{Key: []byte("b")})
	require.NoError(t, err)
	version := s.Version()
	deleted, err := edit(shm.Edit{Key: []byte("a"), Value: []byte("1")}, shm.Edit{Key: []byte("c"), Delete: true})
	require.NoError(t, err)
	require.Zero(t, deleted)
	require.Equal(t, version, s.Version())

	_, err = edit(shm.Edit{Key: []byte("a"), Delete: true}, shm.Edit{Key: []byte(strings.Repeat("k", shm.MaxKey+1))})
	require.ErrorIs(t, err, shm.ErrTooLarge)
	_, err = s.Ordered("o").Get([]byte("a"))
	require.NoError(t, err)

	require.NoError(t, s.Map("h").Set([]byte("k"), nil))
	require.NoError(t, s.Update(func(tx *shm.Tx) error {
		_, err := tx.Ordered("h").EditMany([]shm.Edit{{Key: []byte("k")}})
		require.ErrorIs(t, err, shm.ErrKind)
		return nil
	}))
}

// Deletes make no map, also if the transaction has set keys of others.
func TestEditManyDeletesMakeNoMap(t *testing.T) {
	s, err := shm.Open(t.TempDir(), nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	require.NoError(t, s.Update(func(tx *shm.Tx) error {
		require.NoError(t, tx.Ordered("set").Set([]byte("k"), nil))
		_, err := tx.Ordered("missing").EditMany([]shm.Edit{{Key: []byte("k"), Delete: true}})
		return err
	}))
	maps, err := s.Maps()
	require.NoError(t, err)
	require.Len(t, maps, 1)
}
