package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// terminal is a real terminal in its own tmux server.
type terminal struct {
	t      *testing.T
	socket string
}

func newTerminal(t *testing.T, width, height int) *terminal {
	if _, err := exec.LookPath("tmux"); err != nil {
		t.Skip("there is no tmux")
	}
	dir := t.TempDir()
	tm := &terminal{t, filepath.Join(dir, "tmux")}
	start(t, exec.Command("tmux", "-S", tm.socket, "-f", os.DevNull, "-D"))
	require.Eventually(t, func() bool {
		c, err := net.Dial("unix", tm.socket)
		return err == nil && c.Close() == nil
	}, 20*time.Second, time.Millisecond)
	tm.run("new-session", "-d", "-c", dir, "-x", fmt.Sprint(width), "-y", fmt.Sprint(height), "env", "PS1=ready> ", "sh")
	tm.shows(`ready>`)
	tm.enters("stty -g >modes && echo known")
	tm.shows(`^known$`)
	tm.clear()
	return tm
}

func (tm *terminal) run(args ...string) string {
	tm.t.Helper()
	out, err := exec.Command("tmux", append([]string{"-S", tm.socket}, args...)...).CombinedOutput()
	require.NoError(tm.t, err, "tmux %v: %s", args, out)
	return string(out)
}

func (tm *terminal) types(keys ...string) { tm.run(append([]string{"send-keys"}, keys...)...) }

// enters types a command and the enter key.
func (tm *terminal) enters(command string) {
	tm.types("-l", command)
	tm.types("Enter")
}

// clear clears the screen and waits until it is clear, because the shell would clear later
// input too. The screen must not be empty before.
func (tm *terminal) clear() {
	tm.t.Helper()
	tm.enters("clear")
	tm.shows(`\Aready>\s*\z`)
}

// restored waits for the last output of a program, and then checks that the modes of the
// terminal are those from the start of the shell.
func (tm *terminal) restored(pattern string) {
	tm.t.Helper()
	tm.shows(pattern)
	require.Equal(tm.t, "0 1", tm.state())
	tm.enters("stty -g | diff - modes && echo same") // the terminal echoes input, line by line
	tm.shows(`^ready> stty -g .*same\nsame$`)
	tm.clear()
}

// shows waits until the text on the screen matches, and returns it.
func (tm *terminal) shows(pattern string) string {
	tm.t.Helper()
	re := regexp.MustCompile(`(?m)` + pattern)
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		screen := tm.run("capture-pane", "-p")
		if re.MatchString(screen) {
			return screen
		}
		require.True(tm.t, time.Now().Before(end), "expected %s, found\n%s", pattern, screen)
	}
}

// state reports whether the terminal shows the alternate screen, and whether it shows a
// cursor.
func (tm *terminal) state() string {
	return strings.TrimSpace(tm.run("display-message", "-p", "#{alternate_on} #{cursor_flag}"))
}
