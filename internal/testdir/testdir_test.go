package testdir

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) { os.Exit(Main(m)) }

// holdEnv makes TestHold wait to be killed.
const holdEnv = "SHMKV_TESTDIR_HOLD"

// TestHold makes directories of all kinds.
func TestHold(t *testing.T) {
	for _, dir := range []string{t.TempDir(), Memory(t)} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), []byte("content"), 0o600))
		fmt.Println("dir", dir)
	}
	if os.Getenv(holdEnv) == "" {
		return
	}
	t.Run("mount", func(t *testing.T) {
		dir := Tmpfs(t, "size=64k")
		require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), []byte("content"), 0o600))
		fmt.Println("mount", dir)
		fmt.Println("held")
		select {}
	})
	fmt.Println("held")
	select {}
}

// run returns the command of another run of these tests, with its own mounts and
// temporary directories.
func run(tmp string, args ...string) *exec.Cmd {
	c := exec.Command("/proc/self/exe", args...)
	c.Env = slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, unsharedEnv+"=") })
	c.Env = append(c.Env, "TMPDIR="+tmp)
	return c
}

// A run removes the directories of a run that was killed.
func TestKilledRun(t *testing.T) {
	tmp := t.TempDir()
	c := run(tmp, "-test.run=^TestHold$", "-test.v")
	c.Env = append(c.Env, holdEnv+"=1")
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	var dirs []string
	mounted := ""
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "held" {
		if dir, ok := strings.CutPrefix(lines.Text(), "dir "); ok {
			dirs = append(dirs, dir)
		}
		if dir, ok := strings.CutPrefix(lines.Text(), "mount "); ok {
			mounted = dir
		}
	}
	require.Len(t, dirs, 2)
	require.NoError(t, c.Process.Kill())
	require.Error(t, c.Wait())
	for _, dir := range dirs {
		require.FileExists(t, dir+"/file", "they are there until another run begins")
	}
	if mounted != "" {
		require.NoFileExists(t, mounted+"/file", "the mount is not seen here")
		mounts, err := os.ReadFile("/proc/self/mountinfo")
		require.NoError(t, err)
		require.NotContains(t, string(mounts), mounted)
	}

	text, err := run(tmp, "-test.run=^TestHold$", "-test.v").CombinedOutput()
	require.NoError(t, err, "%s", text)
	for _, dir := range dirs {
		require.NoDirExists(t, dir)
	}
	left, err := os.ReadDir(tmp)
	require.NoError(t, err)
	require.Empty(t, left)
	for line := range strings.Lines(string(text)) {
		if dir, ok := strings.CutPrefix(strings.TrimSpace(line), "dir "); ok {
			require.NoDirExists(t, dir)
		}
	}
	if mounted == "" {
		t.Logf("no mount was tried: %v", errMounts)
	}
}
