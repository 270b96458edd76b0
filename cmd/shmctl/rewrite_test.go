package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/shm"
)

// If a process has the store open, a rewrite changes nothing and its error names the
// process. check reports damage nevertheless.
func TestRewriteInUse(t *testing.T) {
	s := newStore(t)
	require.NoError(t, s.Set([]byte("a"), []byte("1")))
	inUse := func(stderr string) {
		t.Helper()
		require.Regexp(t, fmt.Sprintf(`^shmctl: rewriting .*: store is in use by process %d\n$`, os.Getpid()), stderr)
	}
	code, stdout, stderr := runs("", "compact", s.Path(), "--exclusive")
	require.Equal(t, exitInUse, code)
	require.Empty(t, stdout)
	inUse(stderr)
	code, stdout, _ = runs("", "check", s.Path(), "--repair")
	require.Equal(t, exitOK, code, "there is nothing to mend")
	require.Regexp(t, `(?m)^sound +yes$`, stdout)
	require.NoError(t, s.Close())

	damage(t, s.Path(), directory, 12345)
	r, err := shm.Open(s.Path(), &shm.Options{ReadOnly: true})
	require.NoError(t, err)
	code, stdout, stderr = runs("", "check", s.Path(), "--repair")
	require.Equal(t, exitInUse, code)
	require.Regexp(t, `(?m)^sound +[1-9][0-9]* problems?$`, stdout)
	inUse(stderr)
	require.NoError(t, r.Close())
	code, stdout, stderr = runs("", "check", s.Path(), "--repair")
	require.Equal(t, exitOK, code, stderr)
	require.Regexp(t, `(?m)^mended +[1-9][0-9]* problems?$`, stdout)
	v, err := openAgain(t, s.Path()).Get([]byte("a"))
	require.NoError(t, err)
	require.Equal(t, "1", string(v))
}

// check --repair repairs even a store that cannot be opened for writing.
func TestRepairOfWhatCannotBeOpened(t *testing.T) {
	s := newStore(t)
	require.NoError(t, s.Set([]byte("a"), []byte("1")))
	require.NoError(t, s.Close())
	damage(t, s.Path(), directory, 12345)
	damage(t, s.Path(), owners, 1<<16|1) // of a dead process
	code, stdout, _ := runs("", "check", s.Path())
	require.Equal(t, exitDamaged, code)
	require.Empty(t, stdout)
	code, stdout, stderr := runs("", "check", s.Path(), "--repair")
	require.Equal(t, exitOK, code, stderr)
	require.Regexp(t, `(?m)^mended +1 problem$\n  opening .*adopting slot 0: .* found .*, expected`, stdout)
	require.Equal(t, 1, openAgain(t, s.Path()).Len())
}

// Offsets of words of the first writer's slot in the file data.
const (
	owners    = 0x2000
	directory = 0x3000
)

func damage(t *testing.T, path string, off int64, word uint64) {
	t.Helper()
	f, err := os.OpenFile(path+"/data", os.O_RDWR, 0)
	require.NoError(t, err)
	_, err = f.WriteAt(binary.LittleEndian.AppendUint64(nil, word), off)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

func openAgain(t *testing.T, path string) *shm.Store {
	t.Helper()
	s, err := shm.Open(path, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}
