//go:build linux && !race

package alloc

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/alloc/layout"
)

// As many writers as there are procs died. A read-only handle has them adopted
// where it may write data, and works without a proc where it may not.
func TestReaderAfterDeadWriters(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	var all []*Arena
	for range layout.MaxProcs {
		a, err := Open(path, Options{MaxSize: 4 << 20})
		require.NoError(t, err)
		commit(t, a)
		all = append(all, a)
	}
	_, err := Open(path, Options{ReadOnly: true})
	require.ErrorIs(t, err, ErrTooManyProcesses, "the living have all procs")
	version := all[0].Version()
	for _, a := range all {
		require.NoError(t, a.lock.close()) // as when its process dies
	}

	dir, err := os.OpenRoot(path)
	require.NoError(t, err)
	reader, err := openIn(dir, path, Options{ReadOnly: true, MustExist: true})
	require.NoError(t, err)
	require.False(t, reader.CanPin())
	_, err = reader.Pin()
	require.ErrorIs(t, err, ErrCannotPin)
	g, ok := reader.Stamp()
	require.True(t, ok && reader.Valid(g))
	require.Equal(t, version, reader.VersionOf(g))
	require.NoError(t, reader.Close())
	require.True(t, all[0].ownsSlots(0), "it has adopted, without permission")

	for range 2 {
		reader, err = Open(path, Options{ReadOnly: true})
		require.NoError(t, err)
		require.True(t, reader.CanPin())
		p, err := reader.Pin()
		require.NoError(t, err)
		require.Equal(t, version, p.Version)
		require.NoError(t, reader.Close())
	}
	require.False(t, all[0].ownsSlots(0))
}
