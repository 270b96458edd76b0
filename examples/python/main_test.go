package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/examples/internal/exampletest"
	"github.com/seed-869cc763/shmkv/internal/testdir"
)

func TestMain(m *testing.M) { exampletest.Main(m, main) }

// A Go program and two Python programs, one with a library and one without, count at the same
// time, and no visit is lost. The server is killed afterwards, and the next one has all.
func TestPythonAndGo(t *testing.T) {
	if testing.Short() {
		t.Skip("runs programs that are built without the race detector, and takes seconds")
	}
	pythons := interpreters(t)
	dir := t.TempDir()
	shmctl := filepath.Join(dir, "shmctl")
	build := exec.Command("go", "build", "-o", shmctl, "../../cmd/shmctl")
	build.Env = testdir.GoEnv()
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)

	store, socket := filepath.Join(dir, "store"), filepath.Join(dir, "socket")
	server := serve(t, shmctl, store, socket)
	goProgram := exampletest.Start(t, "-store", store, "-visits", "2000")
	programs := make([]*exec.Cmd, len(pythons))
	outputs := make([]strings.Builder, len(pythons))
	for i, python := range pythons {
		programs[i] = exec.Command(python, "visits.py", socket, "ann", "500")
		programs[i].Stdout, programs[i].Stderr = &outputs[i], &outputs[i]
		require.NoError(t, programs[i].Start())
	}
	for i, cmd := range programs {
		require.NoError(t, cmd.Wait(), outputs[i].String())
		t.Logf("%s %s", pythons[i], outputs[i].String())
	}
	goProgram.End()

	require.NoError(t, server.Process.Signal(syscall.SIGKILL))
	_ = server.Wait()
	serve(t, shmctl, store, socket)
	for i, python := range pythons {
		out, err := exec.Command(python, "visits.py", socket, "ann", "1").CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Contains(t, string(out), ": greeting Hello from Go, ann\n", i)
	}
	require.Equal(t, fmt.Sprintf("%d visits of ann by now\nthe last was counted by Python\n", 2000+501*len(pythons)),
		exampletest.Run(t, "-store", store, "-visits", "0"))
}

// interpreters returns Debian's Python, which may have pymemcache, and another one if there is
// one.
func interpreters(t *testing.T) (all []string) {
	t.Helper()
	seen := map[string]bool{}
	for _, name := range []string{"/usr/bin/python3", "python3"} {
		out, err := exec.Command(name, "-c", "import sys; print(sys.executable)").Output()
		if real := strings.TrimSpace(string(out)); err == nil && !seen[real] {
			seen[real] = true
			all = append(all, name)
		}
	}
	if len(all) == 0 {
		t.Skip("python3 is not installed")
	}
	return all
}

// serve starts a server, and returns when it answers.
func serve(t *testing.T, shmctl, store, socket string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(shmctl, "serve", "memcached", "--store", store, "-m", "64", "-s", socket)
	cmd.Stderr = os.Stderr
	_ = os.Remove(socket)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	require.Eventually(t, func() bool {
		_, err := os.Stat(socket)
		return err == nil
	}, exampletest.Patience, 5*time.Millisecond, "the server does not start")
	return cmd
}
