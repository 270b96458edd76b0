package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testproc"
)

// watching is a process of shmctl watch.
type watching struct {
	t      *testing.T
	cmd    *exec.Cmd
	lines  chan string // closed when the process has ended
	stderr strings.Builder
}

// startWatch starts a watch with --existing, so that its first line shows that it works.
func startWatch(t *testing.T, args ...string) *watching {
	t.Helper()
	w := &watching{t: t, cmd: exec.Command("shmctl", append([]string{"watch", "--existing"}, args...)...), lines: make(chan string, 1000)}
	w.cmd.Stderr = &w.stderr
	out, err := w.cmd.StdoutPipe()
	require.NoError(t, err)
	testproc.Start(t, w.cmd)
	go func() {
		defer close(w.lines)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			w.lines <- lines.Text()
		}
	}()
	return w
}

// line returns the next printed line, or "" at the end.
func (w *watching) line() string {
	w.t.Helper()
	select {
	case line := <-w.lines:
		return line
	case <-time.After(20 * time.Second):
		require.Fail(w.t, "no change was seen")
		return ""
	}
}

// exit waits for the end of the process and returns the exit code.
func (w *watching) exit() int {
	for range w.lines {
	}
	_ = w.cmd.Wait()
	return w.cmd.ProcessState.ExitCode()
}

// This process makes the changes, and another process sees them.
func TestWatchSeesOthers(t *testing.T) {
	s := newStore(t)
	set := func(key, value string) { t.Helper(); require.NoError(t, s.Set([]byte(key), []byte(value))) }
	set("a", "1")
	all := startWatch(t, s.Path(), "--all", "--count", "5")
	one := startWatch(t, s.Path(), "a")
	for _, w := range []*watching{all, one} {
		require.Regexp(t, `^\d\d:\d\d:\d\d\.\d{3}  version 2  set  a  1$`, w.line())
	}
	set("b", "\x1b[31m") // a control sequence
	require.Regexp(t, `  version 3  set  b  "\\x1b\[31m"$`, all.line())
	set("a", strings.Repeat("long", 100))
	for _, w := range []*watching{all, one} {
		require.Regexp(t, `  version 4  set  a  (long){16}\.\.\. \(400 bytes\)$`, w.line())
	}
	_, err := s.Delete([]byte("b"))
	require.NoError(t, err)
	require.Regexp(t, `  version 5  deleted  b$`, all.line())
	set("a", "")
	require.Regexp(t, `  version 6  set  a  ""$`, one.line())
	require.Regexp(t, `  version 6  set  a  ""$`, all.line())
	require.Zero(t, all.exit(), "after five changes")
	_, err = s.Delete([]byte("a"))
	require.NoError(t, err)
	require.Regexp(t, `  version 7  deleted  a$`, one.line())

	require.NoError(t, one.cmd.Process.Signal(syscall.SIGINT))
	require.Equal(t, exitInterrupted, one.exit())
	require.Equal(t, "shmctl: watch: interrupted\n", one.stderr.String())
	found, err := s.Inspect().Processes()
	require.NoError(t, err)
	require.Len(t, found, 1, "they have let go of the store")
}

// watch follows a named map from before it is there. It sees a drop, and a map of the same name
// and of another kind.
func TestWatchNamedMap(t *testing.T) {
	s := newStore(t)
	require.NoError(t, s.Set([]byte("other"), []byte("1")))
	all := startWatch(t, s.Path(), "--map", "m", "--all")
	one := startWatch(t, s.Path(), "--map", "m", "a")
	see := func(ws []*watching, pattern string) {
		t.Helper()
		for _, w := range ws {
			require.Regexp(t, pattern, w.line())
		}
	}
	both := []*watching{all, one}
	require.Eventually(t, func() bool { // both have looked once
		all, err := s.Inspect().Processes()
		require.NoError(t, err)
		return len(all) == 3
	}, 20*time.Second, time.Millisecond)
	require.NoError(t, s.Set([]byte("a"), []byte("in the unnamed map")))
	require.NoError(t, s.Map("m").Set([]byte("a"), []byte("1")))
	see(both, `  set  a  1$`)
	require.NoError(t, s.Map("m").Set([]byte("b"), []byte("2")))
	see([]*watching{all}, `  set  b  2$`)
	_, err := s.DropMap("m")
	require.NoError(t, err)
	lines := []string{all.line(), all.line()}
	require.Regexp(t, `  deleted  [ab]$`, lines[0])
	require.Regexp(t, `  deleted  [ab]$`, lines[1])
	see([]*watching{one}, `  deleted  a$`)
	require.NoError(t, s.Ordered("m").Set([]byte("a"), []byte("ordered")))
	see(both, `  set  a  ordered$`)

	// Between two looks of the watch the map is replaced by one of the other kind.
	for _, w := range both {
		require.NoError(t, w.cmd.Process.Signal(syscall.SIGSTOP))
	}
	_, err = s.DropMap("m")
	require.NoError(t, err)
	require.NoError(t, s.Map("m").Set([]byte("c"), []byte("hash")))
	for _, w := range both {
		require.NoError(t, w.cmd.Process.Signal(syscall.SIGCONT))
	}
	see(both, `  deleted  a$`)
	see([]*watching{all}, `  set  c  hash$`)
}

func TestWatchJSON(t *testing.T) {
	s := newStore(t)
	require.NoError(t, s.Set([]byte("k"), []byte("\xff")))
	w := startWatch(t, s.Path(), "--all", "--json", "--count", "2")
	var c struct {
		Time    time.Time
		Version uint64
		Change  string
		jsonRecord
	}
	require.NoError(t, json.Unmarshal([]byte(w.line()), &c))
	require.WithinDuration(t, time.Now(), c.Time, time.Minute)
	require.Equal(t, "set", c.Change)
	require.Equal(t, []byte("\xff"), c.Value64)
	_, err := s.Delete([]byte("k"))
	require.NoError(t, err)
	line := w.line()
	require.Contains(t, line, `"version":3,"change":"deleted","key":"k"}`)
	require.Zero(t, w.exit())
}

// Without --existing the first printed line is a change.
func TestWatchBeginsWithAChange(t *testing.T) {
	for _, what := range []string{"--all", "k"} {
		s := newStore(t)
		require.NoError(t, s.Set([]byte("k"), []byte("old")))
		stop := make(chan struct{})
		ended := make(chan struct{})
		go func() { // repeat until watch sees it, because its start is not known
			defer close(ended)
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
					_ = s.Set([]byte("k"), fmt.Append(nil, "new ", i))
				}
			}
		}()
		code, out, stderr := runs("", "watch", s.Path(), what, "--count", "1")
		close(stop)
		<-ended
		require.Equal(t, exitOK, code, stderr)
		require.Regexp(t, `^\S+  version \d+  set  k  new \d+\n$`, out)
	}
}

// A slow watch does not slow a writer, but sees fewer changes.
func TestWatchSkipsWhatIsTooFast(t *testing.T) {
	s := newStore(t)
	require.NoError(t, s.Set([]byte("k"), []byte("0")))
	w := startWatch(t, s.Path(), "--all")
	w.line()
	const writes = 20000
	for i := range writes {
		require.NoError(t, s.Set([]byte("k"), strconv.AppendInt(nil, int64(i+1), 10)))
	}
	lines := 0
	for !strings.HasSuffix(w.line(), fmt.Sprintf("  set  k  %d", writes)) {
		lines++
	}
	require.Less(t, lines, writes/10)
}

// An idle watch takes no processor time. Its threads wake up a few times a second, because
// each sleep is limited to a second. Sometimes the monitor of the Go runtime then wakes up
// about 50 times in a row, and a busy machine counts a tick too many, so some seconds are
// less quiet.
func TestWatchIsIdle(t *testing.T) {
	if testing.Short() {
		t.Skip("it waits")
	}
	s := newStore(t)
	require.NoError(t, s.Set([]byte("k"), []byte("v")))
	watches := []*watching{startWatch(t, s.Path(), "--all"), startWatch(t, s.Path(), "k")}
	for _, w := range watches {
		w.line()
	}
	time.Sleep(200 * time.Millisecond)        // let the watch fall asleep
	least := [2]int{math.MaxInt, math.MaxInt} // ticks
	quietest := [2]int{math.MaxInt, math.MaxInt}
	for second := 0; second < 8 && (max(quietest[0], quietest[1]) > 10 || max(least[0], least[1]) > 1); second++ {
		var ticks, sleeps [2]int
		for i, w := range watches {
			ticks[i], sleeps[i] = spent(t, w.cmd.Process.Pid)
		}
		time.Sleep(time.Second)
		for i, w := range watches {
			ticks1, sleeps1 := spent(t, w.cmd.Process.Pid)
			least[i] = min(least[i], ticks1-ticks[i])
			quietest[i] = min(quietest[i], sleeps1-sleeps[i])
		}
	}
	require.LessOrEqual(t, max(least[0], least[1]), 1, "ticks of 10 ms in the quietest second")
	require.LessOrEqual(t, max(quietest[0], quietest[1]), 10, "wakeups in the quietest second")
}

// spent returns the processor time of a process in ticks, and the number of sleeps of its
// threads.
func spent(t *testing.T, pid int) (ticks, sleeps int) {
	t.Helper()
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	require.NoError(t, err)
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	for _, field := range fields[11:13] { // utime, stime
		n, err := strconv.Atoi(field)
		require.NoError(t, err)
		ticks += n
	}
	threads, err := filepath.Glob(filepath.Join(dir, "task/*/status"))
	require.NoError(t, err)
	require.NotEmpty(t, threads)
	for _, name := range threads {
		status, err := os.ReadFile(name)
		require.NoError(t, err)
		_, after, found := strings.Cut(string(status), "\nvoluntary_ctxt_switches:")
		require.True(t, found)
		n, err := strconv.Atoi(strings.Fields(after)[0])
		require.NoError(t, err)
		sleeps += n
	}
	return ticks, sleeps
}
