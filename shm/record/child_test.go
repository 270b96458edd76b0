// The race detector sees nothing of a mapping, and slows processes down.

//go:build !race

package record

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/internal/testproc"
)

func setting(name string) string { return os.Getenv("SHMKV_RECORD_TEST_" + name) }

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

// startChild starts a child that dies with its parent. Its standard output is appended to the file log.
func startChild(t testing.TB, name, log string, set map[string]string) *testproc.Child {
	t.Helper()
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	require.NoError(t, err)
	defer out.Close()
	cmd := testproc.Command(t, name)
	for k, v := range set {
		cmd.Env = append(cmd.Env, "SHMKV_RECORD_TEST_"+k+"="+v)
	}
	cmd.Stdout = out
	return testproc.StartChild(t, cmd)
}

// linesOf returns the whole lines of a log.
func linesOf(t testing.TB, log string) []string {
	t.Helper()
	b, err := os.ReadFile(log)
	require.NoError(t, err)
	lines := strings.SplitAfter(string(b), "\n")
	return lines[:len(lines)-1]
}

func number(s string) int {
	n, err := strconv.Atoi(strings.TrimSpace(s))
	must(err)
	return n
}
