package main

import (
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/examples/internal/exampletest"
	"github.com/seed-869cc763/shmkv/shm"
)

func TestMain(m *testing.M) { exampletest.Main(m, main) }

// contents returns the entries of the store at path.
func contents(t *testing.T, path string) map[string]string {
	t.Helper()
	s, err := shm.Open(path, &shm.Options{ReadOnly: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	all := map[string]string{}
	require.NoError(t, s.View(func(sn *shm.Snapshot) error {
		for key, value := range sn.All() {
			all[string(key)] = string(value)
		}
		return sn.Err()
	}))
	return all
}

func TestBackupAndRestore(t *testing.T) {
	dir, path := t.TempDir(), filepath.Join(t.TempDir(), "store")
	s, err := shm.Open(path, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	want := map[string]string{}
	set := func(key, value string) {
		require.NoError(t, s.Set([]byte(key), []byte(value)))
		want[key] = value
	}
	restored := 0
	restore := func() string {
		t.Helper()
		restored++
		target := filepath.Join(t.TempDir(), strconv.Itoa(restored))
		exampletest.Run(t, "restore", dir, target)
		return target
	}

	for i := range 100 {
		set(strconv.Itoa(i), "first")
	}
	require.Contains(t, exampletest.Run(t, "full", dir, path), "backed up version 101, 100 entries\n")
	first := maps.Clone(want)
	set("1", "second")
	require.Equal(t, first, contents(t, restore()), "as at the time of the full backup")

	// Each time the latest changes are what counts.
	require.Equal(t, "backed up version 102, 1 changes\n", exampletest.Run(t, "since", dir, path))
	require.Equal(t, want, contents(t, restore()))
	for i := range 10 {
		set(strconv.Itoa(i), "third")
	}
	_, err = s.Delete([]byte("50"))
	require.NoError(t, err)
	delete(want, "50")
	require.Equal(t, "backed up version 113, 11 changes\n", exampletest.Run(t, "since", dir, path))
	target := restore()
	require.Equal(t, want, contents(t, target))

	// What is restored can be written to.
	r, err := shm.Open(target, nil)
	require.NoError(t, err)
	require.NoError(t, r.Set([]byte("new"), nil))
	require.NoError(t, r.Close())

	// Nothing is overwritten.
	require.Contains(t, exampletest.Start(t, "full", dir, path).Fail(), shm.ErrExist.Error())
	require.Contains(t, exampletest.Start(t, "restore", dir, target).Fail(), shm.ErrExist.Error())

	// A file that is not complete is refused, and nothing is made of it.
	files, err := filepath.Glob(filepath.Join(dir, "*since-*"))
	require.NoError(t, err)
	require.Len(t, files, 2)
	info, err := os.Stat(files[1])
	require.NoError(t, err)
	require.NoError(t, os.Truncate(files[1], info.Size()-1))
	missing := filepath.Join(t.TempDir(), "store")
	require.Contains(t, exampletest.Start(t, "restore", dir, missing).Fail(), shm.ErrCorrupt.Error())
	require.NoDirExists(t, missing)
}

func TestMistakes(t *testing.T) {
	dir := t.TempDir()
	for _, args := range [][]string{{}, {"full", dir}, {"fill", dir, "store"}} {
		require.Contains(t, exampletest.Start(t, args...).Fail(), "expected full, since or restore")
	}

	// Changes to one store are not changes of another's backup.
	one, other := filepath.Join(dir, "one"), filepath.Join(dir, "other")
	for _, path := range []string{one, other} {
		s, err := shm.Open(path, nil)
		require.NoError(t, err)
		require.NoError(t, s.Close())
	}
	exampletest.Run(t, "full", dir, one)
	require.Contains(t, exampletest.Start(t, "since", dir, other).Fail(), shm.ErrUnrelated.Error())
	left, err := filepath.Glob(filepath.Join(dir, ".since-*"))
	require.NoError(t, err)
	require.Empty(t, left)
}
