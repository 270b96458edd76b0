package tempdir

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

const childEnv = "SHMKV_TEMPDIR_CHILD"

func TestMain(m *testing.M) {
	if parent := os.Getenv(childEnv); parent != "" {
		d, err := Make(parent, "test-")
		if err != nil {
			panic(err)
		}
		fmt.Println(filepath.Base(d.Path))
		select {}
	}
	os.Exit(m.Run())
}

func names(t *testing.T, dir string) []string {
	all, err := readNames(dir)
	require.NoError(t, err)
	return all
}

// The next Make removes the directory of a killed process. It keeps directories of living
// processes, directories with other names, and files.
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

	one, err := Make(parent, "test-")
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"test-file", "tests", dead, filepath.Base(one.Path)}, names(t, parent))
	require.NoError(t, c.Process.Kill())
	require.Error(t, c.Wait())
	require.ElementsMatch(t, []string{"test-file", "tests", dead, filepath.Base(one.Path)}, names(t, parent))
	two, err := Make(parent, "test-")
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"test-file", "tests", filepath.Base(one.Path), filepath.Base(two.Path)}, names(t, parent))
	for range 2 {
		require.NoError(t, one.Remove())
		require.NoError(t, two.Remove())
	}
	require.ElementsMatch(t, []string{"test-file", "tests"}, names(t, parent))
	_, err = Make(filepath.Join(parent, "missing"), "test-")
	require.ErrorIs(t, err, os.ErrNotExist)
}

// Concurrent makers do not remove the directories of each other.
func TestMakersTogether(t *testing.T) {
	parent := t.TempDir()
	var makers sync.WaitGroup
	dirs := make([]*Dir, 50)
	for i := range dirs {
		makers.Go(func() {
			var err error
			if dirs[i], err = Make(parent, "test-"); err != nil {
				t.Error(err)
			}
		})
	}
	makers.Wait()
	require.Len(t, names(t, parent), len(dirs))
	for _, d := range dirs {
		require.DirExists(t, d.Path)
		require.NoError(t, d.Remove())
	}
	require.Empty(t, names(t, parent))
}
