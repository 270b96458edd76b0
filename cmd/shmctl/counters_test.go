package main

import (
	"bufio"
	"os/exec"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testproc"
	"github.com/seed-869cc763/shmkv/shm/counter"
)

// counters --watch shows what there is, changes and removals, as lines and as JSON, until it is
// interrupted.
func TestCountersWatch(t *testing.T) {
	s := newStore(t)
	c := counter.Open(s, "pages")
	for _, form := range []struct {
		args  []string
		lines [4]string
	}{
		{nil, [4]string{"1\ta", "3\ta", "removed\ta", "-1\ta"}},
		{[]string{"--json"}, [4]string{`{"count":1,"key":"a"}`, `{"count":3,"key":"a"}`, `{"removed":true,"key":"a"}`, `{"count":-1,"key":"a"}`}},
	} {
		_, err := c.Add([]byte("a"), 1)
		require.NoError(t, err)
		cmd := exec.Command("shmctl", append([]string{"counters", "--store", s.Path(), "pages", "--watch"}, form.args...)...)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		testproc.Start(t, cmd)
		lines := bufio.NewReader(out)
		for i, change := range []func() error{
			func() error { return nil },
			func() error { _, err := c.Add([]byte("a"), 2); return err },
			func() error { _, err := c.Drop(); return err },
			func() error { _, err := c.Add([]byte("a"), -1); return err },
		} {
			require.NoError(t, change())
			line, err := lines.ReadString('\n')
			require.NoError(t, err)
			require.Equal(t, form.lines[i]+"\n", line)
		}
		require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
		_ = cmd.Wait()
		require.Equal(t, exitInterrupted, cmd.ProcessState.ExitCode())
		_, err = c.Drop()
		require.NoError(t, err)
	}
}
