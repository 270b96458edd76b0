package shm

import (
	"fmt"
	"os"
	"runtime/debug"
	"testing"

	"github.com/seed-869cc763/shmkv/internal/testdir"
)

// childEnv names what the test binary is to be when it runs as a child.
const childEnv = "SHMKV_TEST_CHILD"

// children is what the test binary can be instead of running tests, by the
// value of childEnv. Files add theirs in init functions.
var children = map[string]func(){}

func TestMain(m *testing.M) {
	if name := os.Getenv(childEnv); name != "" {
		run := children[name]
		if run == nil {
			fmt.Fprintf(os.Stderr, "no child is called %q\n", name)
			os.Exit(2)
		}
		run()
		os.Exit(0)
	}
	debug.SetGCPercent(400) // heaps of stores come and go: a fifth less of the processor's time
	os.Exit(testdir.Main(m))
}
