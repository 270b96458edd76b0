// The race detector sees nothing of a mapping, and slows processes down.

//go:build !race

package cache

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/seed-869cc763/shmkv/internal/testproc"
)

func setting(name string) string { return os.Getenv("SHMKV_CACHE_TEST_" + name) }

func settingInt(name string) int {
	n, err := strconv.Atoi(setting(name))
	must(err)
	return n
}

// must is for a child's errors.
func must(err error) {
	if err != nil {
		failChild("%v", err)
	}
}

// failChild ends a child that has found a fault.
func failChild(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "child: "+format+"\n", args...)
	os.Exit(3)
}

// startChild starts a child that dies with its parent.
func startChild(t testing.TB, name string, set map[string]string) *testproc.Child {
	t.Helper()
	cmd := testproc.Command(t, name)
	for k, v := range set {
		cmd.Env = append(cmd.Env, "SHMKV_CACHE_TEST_"+k+"="+v)
	}
	return testproc.StartChild(t, cmd)
}

// clockNanos is a clock that all processes share.
func clockNanos() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err)
	}
	return ts.Nano()
}

// A historian writes down what a child does, so that it stays when the child is killed.
type historian struct {
	f       *os.File
	client  int
	pending event
}

// An event is a call on one key, or on all keys. An event without an End was under way when
// its process was killed.
type event struct {
	Client     int
	Op         string
	Key        string
	Arg        string // the value that is written
	Want       string // the value that a swap expects
	Got        string // the value that was read
	Result     string // ok, absent, exists, token
	Stale      bool
	Start, End int64
}

func newHistorian(dir string, client int) *historian {
	f, err := os.OpenFile(filepath.Join(dir, fmt.Sprintf("history-%d", client)), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	must(err)
	return &historian{f: f, client: client}
}

func (h *historian) write(e event) {
	b, err := json.Marshal(e)
	must(err)
	_, err = h.f.Write(append(b, '\n'))
	must(err)
}

// begin notes a call before it is made.
func (h *historian) begin(e event) {
	e.Client, e.Start = h.client, clockNanos()
	h.pending = e
	h.write(e)
}

// end notes the result of the call.
func (h *historian) end(result, got string, stale bool) {
	e := h.pending
	e.End, e.Result, e.Got, e.Stale = clockNanos(), result, got, stale
	h.write(e)
}

// readHistory returns the events of all children.
func readHistory(t testing.TB, dir string, clients int) (all []event) {
	t.Helper()
	for i := range clients {
		b, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("history-%d", i)))
		require.NoError(t, err)
		var begun *event
		for line := range bytes.Lines(b) {
			if !bytes.HasSuffix(line, []byte{'\n'}) { // a kill may leave a part of the last one
				break
			}
			var e event
			require.NoError(t, json.Unmarshal(line, &e))
			switch {
			case e.End != 0:
				all, begun = append(all, e), nil
			default:
				require.Nil(t, begun)
				begun = &e
			}
		}
		if begun != nil {
			all = append(all, *begun)
		}
	}
	return all
}

// countLines returns how many calls a child has written down, ended ones twice.
func countLines(dir string, client int) (int, error) {
	b, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("history-%d", client)))
	return bytes.Count(b, []byte{'\n'}), err
}

// rounds is how often a test with processes does its work.
func rounds(n int) int {
	if testing.Short() {
		return 1
	}
	return n
}
