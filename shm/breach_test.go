//go:build !shmhook && !race

package shm

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
)

// The proof that the tests can fail. Each breach is a patch in testdata/breaches, which
// leaves out or turns round one rule of the protocol in one source file. The patched copy
// replaces the file in a build of the tests (go test -overlay), so that the code itself
// has no switches. A breach that no test catches fails this one.
//
// These rules have no breach: P3 and K1 are about checkpoints, which the store does not
// have; Q3 says that a leader runs none of the user's functions; D3 is the layout, with
// nothing in procs that leads to a free (see TestVandalOfProcs); D4 says that nobody
// waits for an adopter, which every schedule that stops one for ever shows.

var flagBreaches = flag.String("breaches", "", "which breaches to try: a pattern of names, or all; a few by default")

// A breach is a patch, with these lines before it:
//
//	Rule: P1
//	Fault: what the patched code does
//	Package: ./shm
//	Tests: the pattern of the tests that should catch it
//	Hook: yes, if these are built with the tag shmhook
//	Tried: always by default, or long, if the tests run in full
//	Schedules: how many the tests run, if not 400
type breach struct {
	name        string // of the patch's file, without .diff
	rule, fault string
	pkg, tests  string
	hook, tried bool
	schedules   int
	file        string // that is patched, in the module
	hunks       []hunk
}

// A hunk replaces lines that stand in the file once. Where in the file does not matter.
type hunk struct{ before, after string }

// readBreaches reads all patches.
func readBreaches(t *testing.T) (all []*breach) {
	paths, err := filepath.Glob("testdata/breaches/*.diff")
	require.NoError(t, err)
	require.Greater(t, len(paths), 100)
	for _, path := range paths {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		b, err := parseBreach(string(text))
		require.NoError(t, err, path)
		b.name = strings.TrimSuffix(filepath.Base(path), ".diff")
		all = append(all, b)
	}
	return all
}

func parseBreach(text string) (*breach, error) {
	b := &breach{schedules: 400}
	header, patch, _ := strings.Cut(text, "\n\n")
	for line := range strings.Lines(header) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		var err error
		switch key {
		case "Rule":
			b.rule = value
		case "Fault":
			b.fault = value
		case "Package":
			b.pkg = value
		case "Tests":
			b.tests = value
		case "Hook":
			b.hook = value == "yes"
		case "Tried":
			b.tried = value == "always" || value == "long" && testdir.Long()
		case "Schedules":
			b.schedules, err = strconv.Atoi(value)
		default:
			err = fmt.Errorf("unknown line %q", line)
		}
		if err != nil {
			return nil, err
		}
	}
	for line := range strings.Lines(patch) {
		last := len(b.hunks) - 1
		switch {
		case strings.HasPrefix(line, "--- a/"):
			b.file = strings.TrimSpace(line[len("--- a/"):])
		case strings.HasPrefix(line, "+++ "):
		case strings.HasPrefix(line, "@@"):
			b.hunks = append(b.hunks, hunk{})
		case line[0] == ' ' && last >= 0:
			b.hunks[last].before += line[1:]
			b.hunks[last].after += line[1:]
		case line[0] == '-' && last >= 0:
			b.hunks[last].before += line[1:]
		case line[0] == '+' && last >= 0:
			b.hunks[last].after += line[1:]
		default:
			return nil, fmt.Errorf("unknown line %q", line)
		}
	}
	if b.rule == "" || b.fault == "" || b.pkg == "" || b.tests == "" || b.file == "" || len(b.hunks) == 0 {
		return nil, errors.New("found no rule, fault, package, tests, file or hunk, expected all of them")
	}
	return b, nil
}

// apply returns the patched source.
func (b *breach) apply(source string) (string, error) {
	for _, h := range b.hunks {
		if n := strings.Count(source, h.before); n != 1 {
			return "", fmt.Errorf("found these lines %d times in %s, expected them once:\n%s", n, b.file, h.before)
		}
		source = strings.Replace(source, h.before, h.after, 1)
	}
	return source, nil
}

func TestBreaches(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("builds the tests again for each breach")
	}
	root, err := filepath.Abs("..")
	require.NoError(t, err)
	breaches := readBreaches(t)
	wanted := func(b *breach) bool { return b.tried }
	if *flagBreaches != "" {
		pattern := *flagBreaches
		if pattern == "all" {
			pattern = ""
		}
		re, err := regexp.Compile(pattern)
		require.NoError(t, err)
		wanted = func(b *breach) bool { return re.MatchString(b.name) }
	}
	var mu sync.Mutex
	var table []string
	t.Cleanup(func() {
		for _, row := range table {
			t.Log(row)
		}
		t.Logf("%d breaches of the %d were tried", len(table), len(breaches))
	})
	checked := *flagBreaches != "" || testdir.Long()
	var checkers map[bool]*typeChecker
	if checked {
		checkers = map[bool]*typeChecker{false: newTypeChecker(t, root, ""), true: newTypeChecker(t, root, "shmhook")}
	}
	for _, b := range breaches {
		source, err := os.ReadFile(filepath.Join(root, b.file))
		require.NoError(t, err, b.name)
		patched, err := b.apply(string(source))
		require.NoError(t, err, b.name)
		if checked {
			assert.NoError(t, checkers[b.hook].check(filepath.Join(root, b.file), patched), b.name)
		}
		if !wanted(b) {
			continue
		}
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			by, after := b.try(t, root, patched)
			if by == "" {
				t.Errorf("nothing caught it in %.0f s", time.Since(began).Seconds())
				by = "NOTHING"
			}
			mu.Lock()
			defer mu.Unlock()
			table = append(table, fmt.Sprintf("%-3s %-70s %s %s, %.1f s", b.rule, b.fault, by, after, time.Since(began).Seconds()))
		})
	}
}

var (
	failedTest = regexp.MustCompile(`(?m)^\s*--- FAIL: (Test[^/ ]+/\S+)`)
	failedAny  = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)
	afterMany  = regexp.MustCompile(`found after (\d+ \w+)`)
)

// try runs the tests on the patched source, and returns which test caught the breach and
// after how much.
func (b *breach) try(t *testing.T, root, patched string) (by, after string) {
	dir := t.TempDir()
	file := filepath.Join(dir, "mutant.go")
	require.NoError(t, os.WriteFile(file, []byte(patched), 0o600))
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {filepath.Join(root, b.file): file}})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600))

	args := []string{"test", "-vet=off", "-count=1", "-failfast", "-timeout=150s", "-overlay=" + filepath.Join(dir, "overlay.json"), "-run", b.tests}
	if b.hook {
		args = append(args, "-tags=shmhook", b.pkg, fmt.Sprintf("-schedules=%d", b.schedules))
	} else {
		args = append(args, b.pkg)
	}
	cmd := exec.Command("go", args...)
	cmd.Dir = root
	cmd.Env = append(testdir.GoEnv(), "GOFLAGS=-buildvcs=false")
	if *flagBreaches != "" {
		cmd.Env = append(cmd.Env, "SHMKV_LONG=1") // some are found by few of the deaths only
	}
	raw, err := cmd.CombinedOutput()
	out := string(raw)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if strings.Contains(out, "[build failed]") || strings.Contains(out, "[setup failed]") {
		t.Fatalf("the breach does not build:\n%s", out)
	}
	if err == nil {
		return "", ""
	}
	if m := afterMany.FindStringSubmatch(out); m != nil {
		after = "after " + m[1]
	}
	for _, re := range []*regexp.Regexp{failedTest, failedAny} {
		if m := re.FindStringSubmatch(out); m != nil {
			return m[1], after
		}
	}
	if strings.Contains(out, "test timed out") {
		return "a test that did not end", after
	}
	return "a crash of the tests", after
}
