package alloc

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/seed-869cc763/shmkv/internal/testdir"
)

// Locks end with the handle, also while a program that is about to be executed has a copy
// of the descriptor.
func TestLocksEndAtOnce(t *testing.T) {
	a, err := Open(filepath.Join(testdir.Memory(t), "store"), Options{})
	require.NoError(t, err)
	copied, err := unix.Dup(int((*os.File)(a.lock.(*fileLocker)).Fd()))
	require.NoError(t, err)
	defer func() { _ = unix.Close(copied) }()
	a.leaveProc()
	l, err := a.b.locks()
	require.NoError(t, err)
	used, err := l.anyLocked()
	require.NoError(t, err)
	require.False(t, used)
	require.NoError(t, l.close())
	require.NoError(t, a.Close())
}
