package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// With -d the command returns when the server answers. The server is in a session of its own,
// in the root directory, and without the terminal's files.
func TestServeDaemon(t *testing.T) {
	dir := t.TempDir()
	start := func() (pid int, err error) {
		cmd := exec.Command("shmctl", "serve", "memcached", "-d", "-P", "pid", "-s", "sock", "--store", "store", "--temporary")
		cmd.Dir = dir
		out, err := cmd.CombinedOutput() // which waits for all that have the pipe
		if err != nil {
			return 0, fmt.Errorf("%w: %s", err, out)
		}
		require.Empty(t, string(out))
		number, err := os.ReadFile(filepath.Join(dir, "pid"))
		require.NoError(t, err)
		pid, err = strconv.Atoi(strings.TrimSpace(string(number)))
		require.NoError(t, err)
		t.Cleanup(func() {
			if path, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); path == ourselves(t) {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		})
		return pid, nil
	}
	pid, err := start()
	require.NoError(t, err)
	require.NotEqual(t, os.Getpid(), pid)
	session, err := sessionOf(pid)
	require.NoError(t, err)
	require.Equal(t, pid, session)
	for link, want := range map[string]string{"cwd": "/", "fd/0": "/dev/null", "fd/1": "/dev/null", "fd/2": "/dev/null"} {
		found, err := os.Readlink(fmt.Sprintf("/proc/%d/%s", pid, link))
		require.NoError(t, err)
		require.Equal(t, want, found, link)
	}
	c := dialing(t, "unix", filepath.Join(dir, "sock"))
	c.asks("set a 0 0 1\r\nx", "STORED")

	// A second one fails, and says so before the command returns.
	_, err = start()
	require.ErrorContains(t, err, "exit status 1: shmctl: serve memcached: ")
	require.ErrorContains(t, err, "found a socket that another process listens on")

	require.NoError(t, syscall.Kill(pid, syscall.SIGTERM))
	require.Eventually(t, func() bool {
		_, err := os.Lstat(filepath.Join(dir, "store"))
		return os.IsNotExist(err)
	}, 30*time.Second, 5*time.Millisecond)
	require.Eventually(t, func() bool {
		_, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
		return err != nil
	}, 30*time.Second, 5*time.Millisecond)
	require.Empty(t, filesIn(t, dir))
}

// ourselves returns the path of the program of this process.
func ourselves(t *testing.T) string {
	path, err := os.Readlink("/proc/self/exe")
	require.NoError(t, err)
	return path
}

func sessionOf(pid int) (int, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, after, _ := strings.Cut(string(stat), ") ") // state, parent, group, session
	return strconv.Atoi(strings.Fields(after)[3])
}

// A server that root starts with -u becomes that user, with all threads and without other
// groups, and all its files belong to the user.
func TestServeAsUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can become another user")
	}
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o777))
	for parent := filepath.Dir(dir); parent != "/" && parent != "/dev/shm" && parent != os.TempDir(); parent = filepath.Dir(parent) {
		st, err := os.Stat(parent)
		require.NoError(t, err)
		require.NoError(t, os.Chmod(parent, st.Mode().Perm()|0o011))
	}
	v := serving(t, dir, "-u", "nobody", "--store", filepath.Join(dir, "store"), "-P", filepath.Join(dir, "pid"))
	v.dial(t).asks("set a 0 0 1\r\nx", "STORED")
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", v.Process.Pid))
	require.NoError(t, err)
	require.NotEmpty(t, tasks)
	for _, task := range tasks {
		b, err := os.ReadFile(task)
		require.NoError(t, err)
		for line := range strings.Lines(string(b)) {
			name, value, _ := strings.Cut(line, ":")
			switch fields := strings.Fields(value); name {
			case "Uid", "Gid":
				require.Equal(t, []string{"65534", "65534", "65534", "65534"}, fields, task)
			case "Groups":
				require.Subset(t, []string{"65534"}, fields, task)
			}
		}
	}
	for _, name := range []string{"store/data", "store/procs", "sock", "pid"} {
		st, err := os.Lstat(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, uint32(65534), st.Sys().(*syscall.Stat_t).Uid, name)
	}
	require.NoError(t, v.Process.Signal(syscall.SIGTERM))
	require.Zero(t, v.ends(t), "%s", v.errors)

	refused := launched(t, dir, "-u", "no such user", "--temporary")
	require.Equal(t, exitFailure, refused.ends(t))
	require.Contains(t, refused.errors.String(), `becoming the user "no such user"`)
}
