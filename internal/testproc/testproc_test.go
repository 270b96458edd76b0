package testproc

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var children = map[string]func(){
	"echo":  func() { fmt.Println(strings.Join(os.Args[1:], " ")) },
	"fails": func() { os.Exit(3) },
	"sleeps": func() {
		fmt.Println("sleeping")
		time.Sleep(time.Hour)
	},
	"starts": func() { // a process that sleeps, and prints its number
		exe, err := os.Executable()
		if err != nil {
			panic(err)
		}
		cmd := exec.Command(exe)
		cmd.Env = append(os.Environ(), childEnv+"=sleeps")
		if _, err := start(cmd); err != nil {
			panic(err)
		}
		fmt.Println(cmd.Process.Pid)
		time.Sleep(time.Hour)
	},
}

func TestMain(m *testing.M) {
	RunChild(children)
	os.Exit(m.Run())
}

// A child gets its arguments. Its end is bad if it was neither exit code 0 nor a kill by the test.
func TestChild(t *testing.T) {
	c := StartChild(t, Command(t, "echo", "a", "b"))
	c.Wait(t)
	require.Equal(t, "a b\n", c.Text())

	c = StartChild(t, Command(t, "sleeps"))
	c.Kill(t)
	c.Killed = false
	require.Error(t, c.badEnd())

	for name, code := range map[string]int{"fails": 3, "nobody": 2} {
		c = StartChild(t, Command(t, name))
		<-c.Done
		c.Killed = true
		exit, ok := errors.AsType[*exec.ExitError](c.badEnd())
		require.True(t, ok, name)
		require.Equal(t, code, exit.ExitCode(), name)
	}
}

// A process ends with the one that has started it, also if that is killed.
func TestProcessEndsWithItsParent(t *testing.T) {
	cmd := Command(t, "starts")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	Start(t, cmd)
	var pid int
	_, err = fmt.Fscan(out, &pid)
	require.NoError(t, err)
	stat := "/proc/" + strconv.Itoa(pid) + "/stat"
	require.FileExists(t, stat)
	require.NoError(t, cmd.Process.Kill())
	require.Eventually(t, func() bool {
		b, err := os.ReadFile(stat)
		return err != nil || strings.Contains(string(b), ") Z ") // or init has not waited for it yet
	}, 30*time.Second, time.Millisecond)
}
