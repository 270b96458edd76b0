package shm_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/shm"
)

// A transaction can make maps without entries. If they are there, it changes nothing.
func TestTxCreatesEmptyMaps(t *testing.T) {
	s, err := shm.Open(t.TempDir(), nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	create := func(tx *shm.Tx) error { return errors.Join(tx.Map("").Create(), tx.Ordered("o").Create()) }

	refused := errors.New("refused")
	require.ErrorIs(t, s.Update(func(tx *shm.Tx) error { return errors.Join(create(tx), refused) }), refused)
	maps, err := s.Maps()
	require.NoError(t, err)
	require.Empty(t, maps)

	require.NoError(t, s.Update(create))
	want := []shm.MapInfo{{Name: "", Kind: shm.KindHash}, {Name: "o", Kind: shm.KindOrdered}}
	maps, err = s.Maps()
	require.NoError(t, err)
	require.Equal(t, want, maps)
	version := s.Version()
	require.NoError(t, s.Update(create))
	require.Equal(t, version, s.Version())

	require.NoError(t, s.Update(func(tx *shm.Tx) error {
		require.ErrorIs(t, tx.Map("o").Create(), shm.ErrKind)
		require.ErrorIs(t, tx.Ordered(strings.Repeat("n", shm.MaxName+1)).Create(), shm.ErrTooLarge)
		return nil
	}))
	maps, err = s.Maps()
	require.NoError(t, err)
	require.Equal(t, want, maps)
}
