package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// get sends no control characters of a value to a terminal.
func TestGetOnTerminal(t *testing.T) {
	s := newStore(t)
	for value, want := range map[string]string{
		"plain":                  "plain",
		"two\nlines\tü":          "two\nlines\tü",
		"\x1b]0;title\a":         `"\x1b]0;title\a"`,
		"\r":                     `"\r"`,
		"\u009b31m":              `"\u009b31m"`, // CSI as one character
		"\u202etxt":              `"\u202etxt"`, // right to left
		"\xff":                   `"\xff"`,
		"say \"\x00\" and \\ so": `"say \"\x00\" and \\ so"`,
	} {
		require.NoError(t, s.Set([]byte("k"), []byte(value)))
		require.Equal(t, want+"\n", onTerminal(t, "get", s.Path(), "k"))
		code, out, _ := runs("", "get", s.Path(), "k")
		require.Equal(t, exitOK, code)
		require.Equal(t, value, out, "in a pipe nothing is changed")
	}
}

// onTerminal returns what shmctl prints on a terminal.
func onTerminal(t *testing.T, args ...string) string {
	t.Helper()
	terminal, line := openTerminal(t)
	mode, err := unix.IoctlGetTermios(int(line.Fd()), unix.TCGETS)
	require.NoError(t, err)
	mode.Oflag &^= unix.OPOST // newlines stay as they are
	require.NoError(t, unix.IoctlSetTermios(int(line.Fd()), unix.TCSETS, mode))
	cmd := exec.Command("shmctl", args...)
	cmd.Stdout = line
	require.NoError(t, cmd.Run())
	out := make([]byte, 4096)
	got, err := terminal.Read(out)
	require.NoError(t, err)
	return string(out[:got])
}

// openTerminal returns the two ends of a pseudoterminal: the master, and the terminal of a
// program.
func openTerminal(t *testing.T) (terminal, line *os.File) {
	t.Helper()
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	t.Cleanup(func() { _ = terminal.Close() })
	require.NoError(t, unix.IoctlSetPointerInt(int(terminal.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(terminal.Fd()), unix.TIOCGPTN)
	require.NoError(t, err)
	line, err = os.OpenFile(filepath.Join("/dev/pts", fmt.Sprint(n)), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = line.Close() })
	return terminal, line
}
