package testdir

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// childEnv makes this binary one that makes a directory and waits to be killed.
const childEnv = "SHMKV_TESTDIR_CHILD"

func names(t *testing.T, dir string) []string {
	all, err := readNames(dir)
	require.NoError(t, err)
	return all
}

// The directory of a process that is killed stays until the next one is made; that
// of a living one, of another pattern, and what is no directory stay.
func TestKilledMaker(t *testing.T) {
	parent := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(parent, "test-file"), nil, 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(parent, "tests"), 0o700))
	exe, err := os.Executable()
	require.NoError(t, err)
	c := exec.Command(exe)
	c.Env = append(os.Environ(), childEnv+"="+parent)
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	lines := bufio.NewScanner(out)
	require.True(t, lines.Scan())
	dead := lines.Text()
	require.NoError(t, os.WriteFile(filepath.Join(parent, dead, "data"), []byte("data"), 0o600))

	one, err := makeDir(parent, "test-")
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"test-file", "tests", dead, filepath.Base(one.path)}, names(t, parent))
	require.NoError(t, c.Process.Kill())
	require.Error(t, c.Wait())
	require.ElementsMatch(t, []string{"test-file", "tests", dead, filepath.Base(one.path)}, names(t, parent))
	two, err := makeDir(parent, "test-")
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"test-file", "tests", filepath.Base(one.path), filepath.Base(two.path)}, names(t, parent))
	for range 2 {
		require.NoError(t, one.remove())
		require.NoError(t, two.remove())
	}
	require.ElementsMatch(t, []string{"test-file", "tests"}, names(t, parent))
	_, err = makeDir(filepath.Join(parent, "missing"), "test-")
	require.ErrorIs(t, err, os.ErrNotExist)
}

// Of many makers none removes the directory of another.
func TestMakersTogether(t *testing.T) {
	parent := t.TempDir()
	var makers sync.WaitGroup
	dirs := make([]*lockedDir, 50)
	for i := range dirs {
		makers.Go(func() {
			var err error
			if dirs[i], err = makeDir(parent, "test-"); err != nil {
				t.Error(err)
			}
		})
	}
	makers.Wait()
	require.Len(t, names(t, parent), len(dirs))
	for _, d := range dirs {
		require.DirExists(t, d.path)
		require.NoError(t, d.remove())
	}
	require.Empty(t, names(t, parent))
}
