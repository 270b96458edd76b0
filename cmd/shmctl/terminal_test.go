package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testproc"
)

// terminal is a real terminal in its own tmux server, which takes commands from one client. A
// client for each command took twice the CPU time.
type terminal struct {
	t       *testing.T
	in      io.Writer
	answers <-chan answer
}

// An answer is what tmux has printed for a command.
type answer struct {
	text   string
	failed bool
}

func newTerminal(t *testing.T, width, height int) *terminal {
	if _, err := exec.LookPath("tmux"); err != nil {
		t.Skip("there is no tmux")
	}
	dir := t.TempDir()
	socket := filepath.Join(dir, "tmux")
	testproc.Start(t, exec.Command("tmux", "-S", socket, "-f", os.DevNull, "-D"))
	require.Eventually(t, func() bool {
		c, err := net.Dial("unix", socket)
		return err == nil && c.Close() == nil
	}, 30*time.Second, time.Millisecond)
	out, err := exec.Command("tmux", "-S", socket, "new-session", "-d", "-c", dir, "-x", fmt.Sprint(width), "-y", fmt.Sprint(height), "env", "PS1=ready> ", "sh").CombinedOutput()
	require.NoError(t, err, "%s", out)
	client := exec.Command("tmux", "-S", socket, "-C", "attach-session", "-f", "no-output")
	in, err := client.StdinPipe()
	require.NoError(t, err)
	lines, err := client.StdoutPipe()
	require.NoError(t, err)
	testproc.Start(t, client)
	tm := &terminal{t, in, answersOf(lines)}
	tm.shows(`ready>`)
	tm.enters("stty -g >modes && echo known")
	tm.shows(`^known$`)
	tm.clear()
	return tm
}

// answersOf returns the answers to commands that tmux prints in its control mode.
func answersOf(r io.Reader) <-chan answer {
	answers := make(chan answer, 1)
	go func() {
		defer close(answers)
		var a *strings.Builder
		for lines := bufio.NewScanner(r); lines.Scan(); {
			line := lines.Text()
			kind, rest, _ := strings.Cut(line, " ")
			guard := regexp.MustCompile(`^\d+ \d+ 1$`).MatchString(rest) // of a command from this client
			switch {
			case guard && kind == "%begin":
				a = &strings.Builder{}
			case guard && a != nil && (kind == "%end" || kind == "%error"):
				answers <- answer{a.String(), kind == "%error"}
				a = nil
			case a != nil:
				a.WriteString(line + "\n")
			}
		}
	}()
	return answers
}

// run carries out a command of tmux.
func (tm *terminal) run(args ...string) string {
	tm.t.Helper()
	for i, arg := range args {
		args[i] = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
	}
	_, err := io.WriteString(tm.in, strings.Join(args, " ")+"\n")
	require.NoError(tm.t, err)
	select {
	case a, ok := <-tm.answers:
		require.True(tm.t, ok && !a.failed, "tmux %v: %s", args, a.text)
		return a.text
	case <-time.After(30 * time.Second):
		require.FailNow(tm.t, "tmux does not answer", "%v", args)
		return ""
	}
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

// restored waits for the last output of a program and the prompt, before which the terminal may
// show what is typed, and then checks that the modes of the
// terminal are those from the start of the shell.
func (tm *terminal) restored(pattern string) {
	tm.t.Helper()
	tm.shows(pattern + `\nready>\s*\z`)
	require.Equal(tm.t, "0 1", tm.state())
	tm.enters("stty -g | diff - modes && echo same") // the terminal echoes input, line by line
	tm.shows(`^ready> stty -g .*same\nsame$`)
	tm.clear()
}

// shows waits until the text on the screen matches, and returns it.
func (tm *terminal) shows(pattern string) string {
	tm.t.Helper()
	re := regexp.MustCompile(`(?m)` + pattern)
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
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
