//go:build !shmhook && !race

package shm

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/seed-869cc763/shmkv/internal/testdir"
)

// TestHooked runs the tests that need the hook at every access to shared
// memory, in a build that has it. Flags for them:
// go test -tags shmhook ./shm -run 'CrashPoints|Schedules|Failpoints' -schedules …
func TestHooked(t *testing.T) {
	t.Parallel()
	args := []string{"test", "-tags", "shmhook", "-count=1", "-v", "-run", "^(TestCrashPoints|TestSchedules|TestFailpoints|TestOvertakenReader|TestCostOfHeldBlocks)$", "."}
	cmd := exec.Command("go", args...)
	cmd.Env = append(testdir.GoEnv(), "GOFLAGS=-buildvcs=false")
	out, err := cmd.CombinedOutput()
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, strings.Join(lines[max(0, len(lines)-60):], "\n"))
	}
	for _, l := range lines {
		if strings.Contains(l, " deaths") || strings.Contains(l, " schedules, ") || strings.Contains(l, " killed and ") || strings.Contains(l, "accesses of ") {
			t.Log(strings.TrimSpace(l))
		}
	}
}
