package main

import (
	"fmt"
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
	"github.com/seed-869cc763/shmkv/internal/testproc"
	"github.com/seed-869cc763/shmkv/shm"
)

// topTerminal is a terminal for top and a store.
type topTerminal struct {
	*terminal
	s *shm.Store
}

func newTopTerminal(t *testing.T) topTerminal {
	if underRace() {
		t.Skip("it runs another process")
	}
	return topTerminal{newTerminal(t, 120, 30), newStore(t)}
}

// begin starts top, which may end before a test sees it.
func (tm topTerminal) begin(args string) {
	tm.enters(fmt.Sprintf("shmctl top %s %s; echo code=$?", tm.s.Path(), args))
}

func (tm topTerminal) start(args string) {
	tm.t.Helper()
	tm.begin(args)
	tm.shows(`^shmctl top .* q quit$`)
	require.Equal(tm.t, "1 0", tm.state(), "the other screen, without a cursor")
}

// The screen shows changes of the store.
func TestTopInTerminal(t *testing.T) {
	tm := newTopTerminal(t)
	s := tm.s
	sn, err := s.Snapshot()
	require.NoError(t, err)
	defer func() { require.NoError(t, sn.Close()) }()

	tm.start("--interval 50ms")
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
	tm.types("x") // a key without effect
	tm.types("F2")
	tm.types("q")
	tm.restored(`^code=0$`)

	// top follows a change of the terminal's size at once, without wrapping or scrolling.
	tm.start("--interval 1h")
	tm.shows(` PINNED$`)
	tm.run("resize-window", "-x", "20", "-y", "4")
	tm.shows(`\Ashmctl top  [0-9:]{8}\n\n.{20}\n  0 commits/s  0 cha$`)
	tm.run("resize-window", "-x", "120", "-y", "30")
	tm.shows(` PINNED$`)
	tm.types("q")
	tm.restored(`^code=0$`)

	// top prints lines to a file.
	tm.enters(fmt.Sprintf("shmctl top %s --count 1 --interval 10ms | wc -l", s.Path()))
	tm.shows(`^2$`)
}

// top restores the terminal, however it ends.
func TestTopRestoresTheTerminal(t *testing.T) {
	tm := newTopTerminal(t)
	tm.begin("--interval 50ms --count 3")
	tm.restored(`^code=0$`)
	for _, key := range []string{"C-c", "C-d", "Q"} {
		tm.start("")
		tm.types(key)
		tm.restored(`^code=0$`)
	}
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGABRT} {
		tm.start("")
		require.NoError(t, syscall.Kill(topOf(t, tm.s), sig))
		tm.restored(`^shmctl: top: interrupted\ncode=130$`)
	}

	// top restores the terminal even after a fault, when its store is truncated. This
	// process does not have that store open.
	path := t.TempDir()
	require.Equal(t, exitOK, run([]string{"set", path, "a", "1"}, strings.NewReader(""), os.Stdout, os.Stderr))
	tm.enters(fmt.Sprintf("shmctl top %s --interval 50ms 2>/dev/null; echo code=$?", path))
	tm.shows(`^shmctl top .* q quit$`)
	require.NoError(t, os.Truncate(filepath.Join(path, "data"), 0))
	tm.restored(`^code=2$`)
}

// topOf returns the process that runs top on a store.
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

// pinner is a handle that pins versions. The number of its pins identifies its row.
type pinner struct {
	t *testing.T
	s *shm.Store
}

func newPinner(t *testing.T, path string) pinner {
	s, err := shm.Open(path, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return pinner{t, s}
}

func (p pinner) pin(n int) {
	for range n {
		require.NoError(p.t, p.s.Set([]byte("k"), fmt.Append(nil, p.s.Version())))
		sn, err := p.s.Snapshot()
		require.NoError(p.t, err)
		p.t.Cleanup(func() { _ = sn.Close() })
	}
}

// pins waits until the rows have these numbers of pins, in this order.
func (tm topTerminal) pins(n ...int) {
	tm.t.Helper()
	pattern := `PINNED$`
	for _, n := range n {
		pattern += fmt.Sprintf(`\n +[0-9]+  shmctl\.test  (?:writer|reader) .* %d +[0-9,]+  \S.*$`, n)
	}
	tm.shows(pattern + `\n*\z`)
}

// Rows keep their places until a key sorts them.
func TestTopSorts(t *testing.T) {
	tm := newTopTerminal(t)
	a, b := newPinner(t, tm.s.Path()), newPinner(t, tm.s.Path())
	a.pin(1)
	b.pin(2)
	tm.start("--interval 50ms --sort pins")
	tm.shows(` sorted by pins,`)
	tm.pins(2, 1, 0)
	a.pin(2)
	tm.pins(2, 3, 0)
	c := newPinner(t, tm.s.Path())
	c.pin(4)
	tm.pins(2, 3, 0, 4)
	tm.types("7")
	tm.pins(4, 3, 2, 0)
	b.pin(3)
	tm.pins(4, 3, 5, 0)
	tm.types("8") // the oldest pin of a is the farthest behind
	tm.shows(` sorted by behind,`)
	tm.pins(3, 5, 4, 0)
	c.pin(2)
	tm.pins(3, 5, 6, 0)
	tm.types("0", "x", "Left") // keys without effect
	tm.types("7")
	tm.pins(6, 5, 3, 0)

	// A key sorts the displayed rows at once.
	tm.types("q")
	tm.restored(`^code=0$`)
	tm.start("--interval 1h")
	tm.shows(` sorted by pid,`)
	tm.types("7")
	tm.pins(6, 5, 3, 0)
	tm.types("8")
	tm.pins(3, 5, 6, 0)
	tm.types("q")
	tm.restored(`^code=0$`)
}

// Processes keep their rows while their rates change.
func TestTopKeepsRows(t *testing.T) {
	tm := newTopTerminal(t)
	for range 3 {
		writer := exec.Command("writer", tm.s.Path())
		_, err := writer.StdinPipe() // the process writes until its input ends
		require.NoError(t, err)
		testproc.Start(t, writer)
	}
	tm.start("--interval 20ms --sort commits")
	rows := regexp.MustCompile(`(?m)^ +([0-9]+)  writer +writer +([0-9,]+) `)
	var first []string
	seen := map[string]bool{}
	for end := time.Now().Add(time.Minute); len(seen) < 20; {
		require.True(t, time.Now().Before(end), "the rates do not change")
		found := rows.FindAllStringSubmatch(tm.shows(`(?:  writer +writer +[1-9](?s:.*)){3}`), -1)
		var pids []string
		for _, row := range found {
			pids = append(pids, row[1])
			seen[row[2]] = true
		}
		if first == nil {
			first = pids
		}
		require.Equal(t, first, pids)
	}
	tm.types("q")
	tm.restored(`^code=0$`)
}

func TestTopShowsKeys(t *testing.T) {
	tm := newTopTerminal(t)
	tm.start("--interval 50ms")
	help := func() {
		t.Helper()
		tm.types("?")
		tm.shows(`\A` + regexp.QuoteMeta(strings.Join(topHelp(), "\n")) + `\s*\z`)
	}
	help()
	require.NoError(t, tm.s.Set([]byte("k"), nil)) // visible when the help is closed
	for _, key := range []string{"?", "x", "Up", "4"} {
		tm.types(key)
		tm.shows(`\Ashmctl top .* sorted by pid, .* q quit$`)
		tm.shows(`version 2  1 entries$`)
		help()
	}
	tm.run("resize-window", "-x", "20", "-y", "3")
	tm.shows(`\AKeys of shmctl top\n\n  q  quit, as Ctrl-C$`)
	tm.run("resize-window", "-x", "120", "-y", "30")
	tm.shows(`as Ctrl-C does$`)
	tm.types("q")
	tm.restored(`^code=0$`)

	tm.run("resize-window", "-x", "80", "-y", "24")
	tm.start("")
	help() // the help fits
	tm.types("C-c")
	tm.restored(`^code=0$`)
}
