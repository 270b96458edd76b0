package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
	"github.com/seed-869cc763/shmkv/shm"
)

// What a process does in an interval is told as its own, and its pins.
func TestTopTellsWhoDoesWhat(t *testing.T) {
	s := newStore(t)
	require.NoError(t, s.Set([]byte("a"), []byte("1")))
	reader, err := shm.Open(s.Path(), &shm.Options{ReadOnly: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, reader.Close()) }()
	sn, err := reader.Snapshot()
	require.NoError(t, err)
	defer func() { require.NoError(t, sn.Close()) }()

	mine, err := openToRead(s.Path())
	require.NoError(t, err)
	defer func() { require.NoError(t, mine.Close()) }()
	store := &topStore{s: mine}
	first, err := store.look()
	require.NoError(t, err)
	require.Zero(t, first.PerSecond)
	require.Len(t, first.Processes, 2, "not its own")
	require.NoError(t, s.Update(func(tx *shm.Tx) error {
		return errors.Join(tx.Set([]byte("a"), nil), tx.Set([]byte("b"), nil))
	}))
	require.NoError(t, s.Set([]byte("c"), nil))
	l, err := store.look()
	require.NoError(t, err)
	require.InDelta(t, 2, l.PerSecond.Commits*l.Seconds, 1e-6)
	require.InDelta(t, 3, l.PerSecond.Changes*l.Seconds, 1e-6)
	w, r := l.Processes[0], l.Processes[1] // the busy one first
	require.Equal(t, l.PerSecond.Commits, w.PerSecond.Commits)
	require.Equal(t, l.PerSecond.Changes, w.PerSecond.Changes)
	require.Equal(t, 1, w.Writers)
	require.Zero(t, w.Pins)
	require.Zero(t, r.PerSecond)
	require.True(t, r.ReadOnly)
	require.Equal(t, 1, r.Pins)
	require.Equal(t, uint64(2), r.Behind)
	require.WithinDuration(t, time.Now(), *r.Since, time.Minute)

	for range 2 { // nothing happens any more
		l, err = store.look()
		require.NoError(t, err)
	}
	require.Zero(t, l.PerSecond)
}

// Damage ends top with what it is.
func TestTopOfDamagedStore(t *testing.T) {
	s := newStore(t)
	require.NoError(t, s.Set([]byte("a"), []byte("1")))
	mine, err := openToRead(s.Path())
	require.NoError(t, err)
	defer func() { require.NoError(t, mine.Close()) }()
	data := filepath.Join(s.Path(), "data")
	var end [8]byte
	f, err := os.OpenFile(data, os.O_RDWR, 0)
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	_, err = f.ReadAt(end[:], 0x1008)
	require.NoError(t, err)
	_, err = f.WriteAt(bytes.Repeat([]byte{0xff}, 8), 0x1008)
	require.NoError(t, err)
	store := &topStore{s: mine}
	_, err = store.look()
	require.ErrorIs(t, err, shm.ErrCorrupt)
	require.Contains(t, err.Error(), "see shmctl check")
	_, err = f.WriteAt(end[:], 0x1008)
	require.NoError(t, err)
}

// Without a terminal a signal ends top with the code of an interruption.
func TestTopInterrupted(t *testing.T) {
	s := newStore(t)
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		cmd := exec.Command("shmctl", "top", s.Path(), "--interval", "10ms", "--json")
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		d := json.NewDecoder(out)
		for range 2 {
			var l topLook
			require.NoError(t, d.Decode(&l))
			require.Len(t, l.Processes, 1)
			require.Equal(t, os.Getpid(), l.Processes[0].Pid)
		}
		require.NoError(t, cmd.Process.Signal(sig))
		_, _ = out.Read(make([]byte, 1<<16))
		var exit *exec.ExitError
		require.ErrorAs(t, cmd.Wait(), &exit)
		require.Equal(t, exitInterrupted, exit.ExitCode())
		require.Equal(t, "shmctl: top: interrupted\n", stderr.String())
	}
}

// terminal is a real one, of a tmux server of its own.
type terminal struct {
	t      *testing.T
	socket string
}

func newTerminal(t *testing.T, width, height int) *terminal {
	if _, err := exec.LookPath("tmux"); err != nil {
		t.Skip("there is no tmux")
	}
	tm := &terminal{t, filepath.Join(t.TempDir(), "tmux")}
	start(t, exec.Command("tmux", "-S", tm.socket, "-f", os.DevNull, "-D"))
	require.Eventually(t, func() bool {
		c, err := net.Dial("unix", tm.socket)
		return err == nil && c.Close() == nil
	}, 20*time.Second, time.Millisecond)
	tm.run("new-session", "-d", "-x", fmt.Sprint(width), "-y", fmt.Sprint(height), "env", "PS1=ready> ", "sh")
	tm.shows(`ready>`)
	return tm
}

func (tm *terminal) run(args ...string) string {
	tm.t.Helper()
	out, err := exec.Command("tmux", append([]string{"-S", tm.socket}, args...)...).CombinedOutput()
	require.NoError(tm.t, err, "tmux %v: %s", args, out)
	return string(out)
}

func (tm *terminal) types(keys ...string) { tm.run(append([]string{"send-keys"}, keys...)...) }

// shows waits until what is on the screen matches.
func (tm *terminal) shows(pattern string) {
	tm.t.Helper()
	re := regexp.MustCompile(`(?m)` + pattern)
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		screen := tm.run("capture-pane", "-p")
		if re.MatchString(screen) {
			return
		}
		require.True(tm.t, time.Now().Before(end), "expected %s, found\n%s", pattern, screen)
	}
}

func (tm *terminal) state() string {
	return strings.TrimSpace(tm.run("display-message", "-p", "#{alternate_on} #{cursor_flag}"))
}

func TestTopInTerminal(t *testing.T) {
	if underRace() {
		t.Skip("it runs another process")
	}
	tm := newTerminal(t, 120, 30)
	s := newStore(t)
	sn, err := s.Snapshot()
	require.NoError(t, err)
	defer func() { require.NoError(t, sn.Close()) }()
	begin := func(args string) {
		tm.types("-l", fmt.Sprintf("shmctl top %s %s; echo code=$?", s.Path(), args))
		tm.types("Enter")
	}
	start := func(args string) {
		begin(args)
		tm.shows(`^shmctl top .* q quits$`)
		require.Equal(t, "1 0", tm.state(), "the other screen, without a cursor")
	}
	restored := func(pattern string) {
		t.Helper()
		tm.shows(pattern)
		require.Equal(t, "0 1", tm.state())
		tm.types("-l", "echo typed") // the terminal shows what is typed, line by line
		tm.types("Enter")
		tm.shows(`^ready> echo typed\ntyped$`)
		tm.types("clear", "Enter")
		tm.shows(`\Aready>\s*\z`) // not before the screen is empty: what is typed then would go with it
	}

	// What happens meanwhile appears.
	start("--interval 50ms")
	tm.shows(`version 1  0 entries$`)
	var stop atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; i < 7 || !stop.Load(); i++ {
			_ = s.Set(fmt.Append(nil, i%7), fmt.Append(nil, i))
			time.Sleep(time.Millisecond)
		}
	}()
	defer stop.Store(true)
	tm.shows(`^  +PID  NAME .* PINS  BEHIND  PINNED$`)
	tm.shows(fmt.Sprintf(`^ +%d  shmctl.test  writer +[1-9][0-9,]* .* 1 +[1-9][0-9,]*  (now|[0-9]+ s ago)$`, os.Getpid()))
	tm.shows(`^  [1-9][0-9,]* commits/s  [1-9]`)
	stop.Store(true)
	<-done
	tm.shows(fmt.Sprintf(`version %s  7 entries$`, text.Count(s.Version())))
	tm.shows(`^  0 commits/s  0 changes/s`)
	tm.types("x") // no meaning
	tm.types("q")
	restored(`^code=0$`)

	// It follows the terminal's size at once: nothing is wrapped or scrolled.
	start("--interval 1h")
	tm.shows(` PINNED$`)
	tm.run("resize-window", "-x", "20", "-y", "4")
	tm.shows(`\Ashmctl top  [0-9:]{8}\n\n.{20}\n  0 commits/s  0 cha$`)
	tm.run("resize-window", "-x", "120", "-y", "30")
	tm.shows(` PINNED$`)
	tm.types("q")
	restored(`^code=0$`)

	// It ends by itself, by Ctrl-C, and by a signal, and leaves the terminal as it was.
	begin("--interval 50ms --count 3") // which may be over before it is seen
	restored(`^code=0$`)
	start("")
	tm.types("C-c")
	restored(`^code=0$`)
	start("")
	require.NoError(t, syscall.Kill(topOf(t, s), syscall.SIGTERM))
	restored(`^shmctl: top: interrupted\ncode=130$`)

	// To a file it prints lines.
	tm.types("-l", fmt.Sprintf("shmctl top %s --count 1 --interval 10ms | wc -l", s.Path()))
	tm.types("Enter")
	tm.shows(`^2$`)
}

// topOf is the process that runs top on a store.
func topOf(t *testing.T, s *shm.Store) int {
	all, err := s.Inspect().Processes()
	require.NoError(t, err)
	require.Len(t, all, 2)
	for _, p := range all {
		if !p.Self {
			return p.Pid
		}
	}
	t.Fatal("it is not there")
	return 0
}
