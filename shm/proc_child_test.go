// The race detector sees nothing of a mapping, and slows processes down.

//go:build !race

package shm

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/seed-869cc763/shmkv/alloc/region"
)

// Tests with real processes: the test binary runs itself again as a child (see
// TestMain), and the parent kills, stops and continues it. A child dies with its
// parent, and ends by itself when its time is up.

var seedFlag = flag.Uint64("proc-seed", 0, "seed of the tests with processes; 0 takes a new one")

// newRand returns a random source whose seed a failing test prints.
func newRand(t testing.TB) *rand.Rand {
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed: -proc-seed %d", seed)
		}
	})
	return rand.New(rand.NewPCG(seed, 0))
}

// child is a child process.
type child struct {
	cmd    *exec.Cmd
	output bytes.Buffer
	done   chan struct{}
	err    error // of Wait, once done is closed
	killed bool
}

// The settings of a child, which it gets in its environment.
type settings map[string]string

func setting(name string) string { return os.Getenv("SHMKV_TEST_" + name) }

func settingInt(name string) int64 {
	n, err := strconv.ParseInt(setting(name), 10, 64)
	if err != nil {
		failChild("setting %s: %v", name, err)
	}
	return n
}

// failChild ends a child that has found a fault.
func failChild(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "child: "+format+"\n", args...)
	os.Exit(3)
}

func startChild(t testing.TB, name string, set settings) *child {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	c := &child{cmd: exec.Command(exe), done: make(chan struct{})}
	c.start(t, name, set)
	return c
}

func (c *child) start(t testing.TB, name string, set settings) {
	t.Helper()
	c.cmd.Env = append(os.Environ(), childEnv+"="+name)
	for k, v := range set {
		c.cmd.Env = append(c.cmd.Env, "SHMKV_TEST_"+k+"="+v)
	}
	c.cmd.Stdout, c.cmd.Stderr = &c.output, &c.output
	if c.cmd.SysProcAttr == nil {
		c.cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	c.cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	// The kernel sends that signal when the thread that forked ends: this one
	// does not.
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		started <- c.cmd.Start()
		c.err = c.cmd.Wait()
		close(c.done)
	}()
	require.NoError(t, <-started)
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill()
		<-c.done
	})
}

func (c *child) signal(sig syscall.Signal) { _ = c.cmd.Process.Signal(sig) }

// kill kills the child and waits for it.
func (c *child) kill(t testing.TB) {
	t.Helper()
	c.killed = true
	c.signal(syscall.SIGKILL)
	c.wait(t)
}

// wait waits for the child's end and fails the test if it ended badly: by
// anything but exit 0 or our kill.
func (c *child) wait(t testing.TB) {
	t.Helper()
	select {
	case <-c.done:
	case <-time.After(60 * time.Second):
		c.signal(syscall.SIGQUIT) // for the stacks
		select {
		case <-c.done:
		case <-time.After(5 * time.Second):
		}
		t.Fatalf("a child did not end within 60 s: %s", c.tail())
	}
	if c.err == nil {
		return
	}
	var exit *exec.ExitError
	if c.killed && errors.As(c.err, &exit) {
		if st := exit.Sys().(syscall.WaitStatus); st.Signaled() && st.Signal() == syscall.SIGKILL {
			return
		}
	}
	t.Fatalf("a child ended badly: %v: %s", c.err, c.tail())
}

func (c *child) tail() string {
	s := c.output.String()
	return s[:min(len(s), 6000)]
}

// board is a small shared memory between parent and children, for counters:
// what a child stores there stays when it is killed.
type board struct {
	region.Mem
	path string
	raw  []byte
}

func newBoard(t testing.TB, dir string, words int) *board {
	t.Helper()
	path := filepath.Join(dir, fmt.Sprintf("board-%x", rand.Uint64()))
	require.NoError(t, os.WriteFile(path, make([]byte, words*8), 0o600))
	b, err := openBoard(path)
	require.NoError(t, err)
	t.Cleanup(func() { _ = unix.Munmap(b.raw) })
	return b
}

func openBoard(path string) (*board, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	raw, err := unix.Mmap(int(f.Fd()), 0, int(st.Size()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	return &board{region.FromBytes(raw), path, raw}, nil
}

func (b *board) get(i int) uint64    { return b.Load(uint64(i) * 8) }
func (b *board) set(i int, v uint64) { b.Store(uint64(i)*8, v) }

// await waits until word i is at least v.
func (b *board) await(t testing.TB, c *child, i int, v uint64) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); b.get(i) < v; time.Sleep(100 * time.Microsecond) {
		select {
		case <-c.done:
			t.Fatalf("a child ended early: %v: %s", c.err, c.tail())
		default:
		}
		if time.Now().After(end) {
			t.Fatalf("a child did not get to step %d within 30 s, it is at %d", v, b.get(i))
		}
	}
}

// clock is the time that all processes share, in nanoseconds.
func clock() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err)
	}
	return ts.Nano()
}

// mustOpen is Open in a child.
func mustOpen(path string, o *Options) *Store {
	s, err := Open(path, o)
	if err != nil {
		failChild("%v", err)
	}
	return s
}

// must is for a child's errors.
func must(err error) {
	if err != nil {
		failChild("%v", err)
	}
}

// testValue is a value that tells what it belongs to in every part: the id, then
// n-8 bytes that follow from it.
func testValue(id uint64, n int) []byte {
	v := binary.LittleEndian.AppendUint64(make([]byte, 0, max(n, 8)), id)
	for x := id; len(v) < n; {
		x = x*6364136223846793005 + 1442695040888963407
		v = binary.LittleEndian.AppendUint64(v, x)
	}
	return v[:max(n, 8)]
}

// valueID returns the id of a testValue and whether all of it agrees.
func valueID(v []byte) (uint64, bool) {
	if len(v) < 8 {
		return 0, false
	}
	id := binary.LittleEndian.Uint64(v)
	return id, bytes.Equal(v, testValue(id, len(v)))
}

// checkSound adopts the dead and checks the store: nothing may be wrong and
// nothing may be lost.
func checkSound(t testing.TB, s *Store) *Report {
	t.Helper()
	_, err := s.Inspect().Adopt()
	require.NoError(t, err)
	rep, err := s.Check(context.Background(), nil)
	if err != nil {
		problems := ""
		if rep != nil {
			problems = strings.Join(rep.Problems[:min(len(rep.Problems), 20)], "\n  ")
		}
		t.Fatalf("Check: %v\n  %s", err, problems)
	}
	require.Empty(t, rep.Problems)
	require.Zero(t, rep.LeakedBytes, "leaked bytes: %+v", rep)
	CheckDigest(t, s)
	return rep
}

// openSound opens a store, checks it and returns it; the test closes it.
func openSound(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(path, nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	checkSound(t, s)
	return s
}

// checkFresh has a fresh process open, write, read and check the store.
func checkFresh(t testing.TB, path string) {
	t.Helper()
	startChild(t, "fresh", settings{"PATH": path}).wait(t)
}

func init() {
	children["fresh"] = func() {
		s := mustOpen(setting("PATH"), &Options{MustExist: true})
		key := []byte("fresh")
		must(s.Set(key, testValue(1, 3000)))
		v, err := s.Get(key)
		must(err)
		if id, ok := valueID(v); id != 1 || !ok {
			failChild("a fresh process read %d, %v", id, ok)
		}
		_, err = s.Delete(key)
		must(err)
		rep, err := s.Check(context.Background(), nil)
		must(err)
		if rep.LeakedBytes != 0 {
			failChild("a fresh process found %d bytes leaked", rep.LeakedBytes)
		}
		must(s.Close())
	}
}

// goAll runs fn in n goroutines and waits for all.
func goAll(n int, fn func(i int)) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { fn(i) })
	}
	all.Wait()
}

const defaultSoak = 4 * time.Second

var soakFlag = flag.Duration("soak", defaultSoak, "how long the soak test with processes runs")
