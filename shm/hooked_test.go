//go:build !shmhook && !race

package shm

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testdir"
)

// TestHooked runs the tests that need the hook at every access to shared
// memory, in a build that has it. Flags for them:
// go test -tags shmhook ./shm -run 'CrashPoints|Schedules|Failpoints' -schedules …
func TestHooked(t *testing.T) {
	t.Parallel()
	args := []string{"test", "-tags", "shmhook", "-count=1", "-v", "-run", "^(" + strings.Join(hookedTests(t), "|") + ")$", "."}
	cmd := exec.Command("go", args...)
	cmd.Env = append(testdir.GoEnv(), "GOFLAGS=-buildvcs=false")
	out, err := cmd.CombinedOutput()
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if err != nil {
		lines = slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(l, "===") || strings.Contains(l, "--- PASS") })
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, strings.Join(lines[max(0, len(lines)-60):], "\n"))
	}
	for _, l := range lines {
		if strings.Contains(l, " deaths") || strings.Contains(l, " schedules, ") || strings.Contains(l, " killed and ") || strings.Contains(l, "accesses of ") {
			t.Log(strings.TrimSpace(l))
		}
	}
}

// hookedTests returns the tests of the files that only a build with the hook has.
func hookedTests(t *testing.T) (names []string) {
	files, err := filepath.Glob("*_test.go")
	require.NoError(t, err)
	test := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		if !strings.HasPrefix(string(text), "//go:build shmhook") {
			continue
		}
		for _, m := range test.FindAllStringSubmatch(string(text), -1) {
			names = append(names, m[1])
		}
	}
	require.Greater(t, len(names), 5)
	return names
}
