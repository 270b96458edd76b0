package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/shm"
)

// The test binary is shmctl when it is called by that name: by scripts, and by
// demo, for its processes.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"shmctl": main})
}

func TestScripts(t *testing.T) {
	if underRace() {
		t.Skip("the scripts run one process after the other, and each would take long to start")
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":     exitsWith,
			"samelines": sameLines,
			"patch":     patch,
			"records":   records,
		},
		Condition: func(cond string) (bool, error) {
			if cond == "root" {
				return os.Getuid() == 0, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
	})
}

// underRace reports whether this binary was built with the race detector.
func underRace() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// exits CODE PROGRAM ARGS... runs a program that must exit with that code, and
// with one line on standard error if it is not 0.
func exitsWith(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARGS...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, expected %d", got, want)
	}
	stderr := ts.ReadFile("stderr")
	if want != exitOK && (!strings.HasPrefix(stderr, "shmctl: ") || strings.Count(stderr, "\n") != 1 || !strings.HasSuffix(stderr, "\n")) {
		ts.Fatalf("standard error is %q, expected one line that begins with shmctl:", stderr)
	}
}

// samelines FILE FILE compares files whose lines may stand in another order.
func sameLines(ts *testscript.TestScript, neg bool, args []string) {
	var sorted [2][]string
	for i := range sorted {
		sorted[i] = slices.Sorted(strings.Lines(ts.ReadFile(args[i])))
	}
	if slices.Equal(sorted[0], sorted[1]) == neg {
		ts.Fatalf("%s has %q, %s has %q", args[0], sorted[0], args[1], sorted[1])
	}
}

// patch FILE OLD NEW overwrites the first OLD with as many bytes of NEW.
func patch(ts *testscript.TestScript, neg bool, args []string) {
	name := ts.MkAbs(args[0])
	b, err := os.ReadFile(name)
	ts.Check(err)
	i := bytes.Index(b, []byte(args[1]))
	if i < 0 || len(args[1]) != len(args[2]) {
		ts.Fatalf("cannot replace %q by %q", args[1], args[2])
	}
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	ts.Check(err)
	_, err = f.WriteAt([]byte(args[2]), int64(i))
	ts.Check(err)
	ts.Check(f.Close())
}

// records FILE KEY=SIZE... writes records with values of so many bytes.
func records(ts *testscript.TestScript, neg bool, args []string) {
	var b bytes.Buffer
	w := newRecordWriter(&b)
	for _, arg := range args[1:] {
		key, length, _ := strings.Cut(arg, "=")
		n, err := strconv.Atoi(length)
		ts.Check(err)
		ts.Check(w.record([]byte(key), bytes.Repeat([]byte("v"), n)))
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b.Bytes(), 0o600))
}

// runs runs shmctl in this process.
func runs(stdin string, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(args, strings.NewReader(stdin), &out, &errs)
	return code, out.String(), errs.String()
}

// newStore makes a store that this process has open.
func newStore(t *testing.T) *shm.Store {
	t.Helper()
	s, err := shm.Open(t.TempDir(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// Every error that has an exit code of its own gets it, also wrapped.
func TestExitCodes(t *testing.T) {
	for err, code := range map[error]int{
		nil:             exitOK,
		os.ErrNotExist:  exitFailure,
		shm.ErrVersion:  exitFailure,
		usagef("wrong"): exitUsage,
		shm.ErrNotFound: exitNotFound,
		shm.ErrCorrupt:  exitDamaged,
		shm.ErrFull:     exitFull,
		errDiffer:       exitDiffer,
		errProblem:      exitProblem,
		errInterrupted:  exitInterrupted,
	} {
		require.Equal(t, code, exitCode(err), "%v", err)
		if err != nil {
			require.Equal(t, code, exitCode(fmt.Errorf("outer: %w", fmt.Errorf("inner: %w", err))), "%v", err)
		}
		require.Contains(t, exitHelp(), fmt.Sprintf("\n  %3d  ", code))
	}
}

// Every verb has an example and says what it is for.
func TestHelp(t *testing.T) {
	for _, cmd := range newRoot().Commands() {
		if cmd.Hidden {
			continue
		}
		require.NotEmpty(t, cmd.Example, cmd.Name())
		require.NotEmpty(t, cmd.Short, cmd.Name())
		code, out, _ := runs("", cmd.Name(), "--help")
		require.Equal(t, exitOK, code)
		require.Contains(t, out, cmd.Example)
	}
}
