package shm_test

import (
	"errors"
	"io/fs"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/shm"
)

// A created store appears when all of it is there.
func TestCreate(t *testing.T) {
	dir := t.TempDir()
	path := dir + "/store"
	require.NoError(t, shm.Create(path, &shm.Options{MaxSize: 2 << 20, Mode: 0o640}, func(s *shm.Store) error {
		require.Equal(t, path, s.Path())
		set(t, s, "a", "1")
		require.NoFileExists(t, path)
		return nil
	}))
	nothingIn(t, dir, "store")
	s, err := shm.Open(path, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	require.EqualValues(t, 2<<20, s.Stats().MaxSize)
	require.Nil(t, s.Inspect().Info().Origin)
	require.False(t, s.Inspect().Info().Backup)
	st, err := os.Stat(path + "/data")
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o640), st.Mode().Perm())
	value, err := s.Get([]byte("a"))
	require.NoError(t, err)
	require.Equal(t, "1", string(value))
	set(t, s, "b", "2")
	sound(t, s)
}

// Nothing is left of a store that was not filled, and nothing is replaced.
func TestCreateRefuses(t *testing.T) {
	dir := t.TempDir()
	fill := func(s *shm.Store) error { return s.Set([]byte("a"), make([]byte, 500_000)) }
	failed := errors.New("half of it")
	require.ErrorIs(t, shm.Create(dir+"/store", nil, func(s *shm.Store) error {
		return errors.Join(fill(s), failed)
	}), failed)
	require.ErrorIs(t, shm.Create(dir+"/store", &shm.Options{MaxSize: 1 << 20}, func(s *shm.Store) error {
		for i := range 10 {
			if err := s.Set(numbered(i), make([]byte, 200_000)); err != nil {
				require.ErrorContains(t, err, dir+"/store: ")
				return err
			}
		}
		return nil
	}), shm.ErrFull)
	require.Panics(t, func() { _ = shm.Create(dir+"/store", nil, func(*shm.Store) error { panic("half of it") }) })
	require.ErrorIs(t, shm.Create(dir+"/missing/store", nil, fill), fs.ErrNotExist)
	for _, o := range []shm.Options{{MaxSize: -1}, {Mode: fs.ModeDir}, {ReadOnly: true}, {ReadOnly: true, Create: true}, {MustExist: true}} {
		require.ErrorContains(t, shm.Create(dir+"/store", &o, fill), "Options.")
	}
	nothingIn(t, dir)

	require.NoError(t, os.Mkdir(dir+"/directory", 0o700))
	require.NoError(t, os.WriteFile(dir+"/file", []byte("kept"), 0o600))
	for _, name := range []string{"directory", "file", "."} {
		err := shm.Create(dir+"/"+name, nil, func(*shm.Store) error { panic("called") })
		require.ErrorIs(t, err, shm.ErrExist, name)
		require.ErrorContains(t, err, dir+"/"+name)
	}
	require.ErrorIs(t, shm.Create(dir+"/store", nil, func(*shm.Store) error {
		s, err := shm.Open(dir+"/store", nil)
		require.NoError(t, err)
		set(t, s, "another's", "1")
		return s.Close()
	}), shm.ErrExist)
	nothingIn(t, dir, "directory", "file", "store")
	s := openAt(t, dir+"/store")
	require.Equal(t, 1, s.Len())
}
