package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/alloc"
	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/doctor"
	"github.com/seed-869cc763/shmkv/internal/testdir"
	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/counter"
)

// The test binary acts as shmctl when scripts, or demo for its processes, call it by that
// name. Under the name writer it is a writer for the tests of live stores.
func TestMain(m *testing.M) {
	programs := map[string]func(){"shmctl": shmctlOrSession, "writer": writeFlatOut}
	if programs[filepath.Base(os.Args[0])] != nil {
		testscript.Main(m, programs)
	}
	testscript.Main(ending{m, testdir.Start()}, programs)
}

// ending removes the directories of the tests before testscript.Main exits.
type ending struct {
	*testing.M
	end func()
}

func (e ending) Run() int {
	defer e.end()
	return e.M.Run()
}

func TestScripts(t *testing.T) {
	if underRace() {
		t.Skip("the scripts run one process after the other, and each would take long to start")
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               newSession,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":     exitsWith,
			"input":     input,
			"samelines": sameLines,
			"patch":     patch,
			"records":   records,
			"seeded":    seeded,
			"shelf":     shelf,
			"counted":   counted,
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

// exits CODE shmctl ARGS... runs a command line that must exit with CODE. If CODE is not 0, it
// must print one line to standard error.
func exitsWith(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || args[1] != "shmctl" {
		ts.Fatalf("usage: exits CODE shmctl ARGS...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got, stderr := 0, ""
	s := sessionOfScript(ts)
	if len(args) > 2 && slices.Contains(ownProcess, args[2]) {
		if len(s.input) > 0 {
			ts.Fatalf("found input for a verb with a process of its own, expected none")
		}
		if err := ts.Exec(args[1], args[2:]...); err != nil {
			exit, ok := errors.AsType[*exec.ExitError](err)
			if !ok {
				ts.Fatalf("%v", err)
			}
			got = exit.ExitCode()
		}
		stderr = ts.ReadFile("stderr")
	} else {
		got, stderr = s.shmctl(ts, args[2:])
	}
	if got != want {
		ts.Fatalf("exit code %d, expected %d", got, want)
	}
	if want != exitOK && (!strings.HasPrefix(stderr, "shmctl: ") || strings.Count(stderr, "\n") != 1 || !strings.HasSuffix(stderr, "\n")) {
		ts.Fatalf("standard error is %q, expected one line that begins with shmctl:", stderr)
	}
}

// samelines FILE FILE compares files whose lines may be in different order.
func sameLines(ts *testscript.TestScript, neg bool, args []string) {
	var sorted [2][]string
	for i := range sorted {
		sorted[i] = slices.Sorted(strings.Lines(ts.ReadFile(args[i])))
	}
	if slices.Equal(sorted[0], sorted[1]) == neg {
		ts.Fatalf("%s has %q, %s has %q", args[0], sorted[0], args[1], sorted[1])
	}
}

// patch FILE OLD NEW overwrites the first OLD with NEW, of the same length.
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

// seeded STORE NUMBER makes an empty store with this seed of the hash, so that the trie of
// given keys has the same shape in each run.
func seeded(ts *testscript.TestScript, neg bool, args []string) {
	n, err := strconv.ParseUint(args[1], 10, 64)
	ts.Check(err)
	a, err := alloc.Open(ts.MkAbs(args[0]), alloc.Options{Exclusive: true, Seed: &[2]uint64{n, n}})
	ts.Check(err)
	ts.Check(a.Close())
}

// counted STORE KEYSPACE KEY=N... adds to counters, and makes the store if it is missing. Names may
// have the escapes of Go's strings.
func counted(ts *testscript.TestScript, neg bool, args []string) {
	s, err := shm.Open(ts.MkAbs(args[0]), nil)
	ts.Check(err)
	unquoted := func(name string) string {
		name, err := strconv.Unquote(`"` + name + `"`)
		ts.Check(err)
		return name
	}
	c := counter.Open(s, unquoted(args[1]))
	for _, arg := range args[2:] {
		key, number, _ := strings.Cut(arg, "=")
		n, err := strconv.ParseInt(number, 10, 64)
		ts.Check(err)
		_, err = c.Add([]byte(unquoted(key)), n)
		ts.Check(err)
	}
	ts.Check(s.Close())
}

// records FILE KEY=SIZE... writes records with values of SIZE bytes.
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

// newStore makes a store and keeps it open in this process.
func newStore(t *testing.T) *shm.Store {
	t.Helper()
	s, err := shm.Open(t.TempDir(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// Each error with its own exit code gets it, even if it is wrapped.
func TestExitCodes(t *testing.T) {
	for err, code := range map[error]int{
		nil:               exitOK,
		os.ErrNotExist:    exitFailure,
		shm.ErrVersion:    exitFailure,
		usagef("wrong"):   exitUsage,
		shm.ErrNotFound:   exitNotFound,
		errNoMap:          exitNotFound,
		shm.ErrCorrupt:    exitDamaged,
		shm.ErrFull:       exitFull,
		errDiffer:         exitDiffer,
		doctor.ErrProblem: exitProblem,
		shm.ErrInUse:      exitInUse,
		errInterrupted:    exitInterrupted,
	} {
		require.Equal(t, code, exitCode(err), "%v", err)
		if err != nil {
			require.Equal(t, code, exitCode(fmt.Errorf("outer: %w", fmt.Errorf("inner: %w", err))), "%v", err)
		}
		require.Contains(t, exitHelp(), fmt.Sprintf("\n  %3d  ", code))
	}
}

// Each verb has help texts, an example, and a man page that contains all of its help. A
// script tests its success and its failure.
func TestVerbs(t *testing.T) {
	var scripts strings.Builder
	names, err := filepath.Glob("testdata/*.txtar")
	require.NoError(t, err)
	for _, name := range names {
		script, err := os.ReadFile(name)
		require.NoError(t, err)
		scripts.Write(script)
	}
	pages := t.TempDir()
	code, _, stderr := runs("", "man", pages)
	require.Equal(t, exitOK, code, stderr)

	seen := 0
	for _, cmd := range verbs(newRoot()) {
		if cmd.Hidden || cmd.Parent().Name() == "completion" {
			continue
		}
		seen++
		name := verbOf(cmd)
		require.NotEmpty(t, cmd.Example, name)
		require.NotEmpty(t, cmd.Short, name)
		require.NotEmpty(t, cmd.Long, name)
		code, out, _ := runs("", append(strings.Fields(name), "--help")...)
		require.Equal(t, exitOK, code)
		require.Contains(t, out, cmd.Example)
		for _, exits := range []string{"0", "[1-9][0-9]*"} {
			if cmd.HasSubCommands() && exits == "0" {
				continue
			}
			line := regexp.MustCompile(`(?m)^exits ` + exits + ` shmctl ` + name + `\b`)
			require.True(t, line.MatchString(scripts.String()), "no script has %s", line)
		}

		page, err := os.ReadFile(filepath.Join(pages, "shmctl-"+strings.ReplaceAll(name, " ", "-")+".1"))
		require.NoError(t, err)
		for _, text := range []string{cmd.Short, cmd.Long, cmd.Example} {
			require.Contains(t, onlyWords(string(page)), onlyWords(text), "the page of %s", name)
		}
	}
	require.Greater(t, seen, 10)

	// The pages show flags without a value as such.
	names, err = filepath.Glob(filepath.Join(pages, "*.1"))
	require.NoError(t, err)
	require.Greater(t, len(names), seen)
	options := regexp.MustCompile(`(?m)^\\fB-.*$`)
	for _, name := range names {
		page, err := os.ReadFile(name)
		require.NoError(t, err)
		lines := options.FindAllString(string(page), -1)
		require.NotEmpty(t, lines, name)
		for _, line := range lines {
			require.Regexp(t, `^(\\fB-\w\\fP, )?\\fB--[a-z0-9-]+\\fP(=.*)?$`, line, name)
			require.NotRegexp(t, `=(true|false)$`, line, name)
		}
	}
}

// onlyWords returns a text without its formatting.
func onlyWords(text string) string {
	lines := strings.Split(text, "\n")
	lines = slices.DeleteFunc(lines, func(line string) bool { return strings.HasPrefix(line, ".") }) // requests of troff
	text = strings.NewReplacer(`\\`, `\`, `\-`, "-", `\&`, "", `\fB`, "", `\fP`, "").Replace(strings.Join(lines, " "))
	return strings.Join(strings.Fields(text), " ")
}
