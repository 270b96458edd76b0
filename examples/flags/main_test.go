package main

import (
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/examples/internal/exampletest"
)

func TestMain(m *testing.M) { exampletest.Main(m, main) }

// Followers see what was set before they came and what is set later, whoever sets it.
func TestFollow(t *testing.T) {
	store := filepath.Join(t.TempDir(), "store")
	set := func(args ...string) { exampletest.Run(t, append([]string{"-store", store}, args...)...) }

	set("set", "dark-mode=on")
	var followers []*exampletest.Process
	for range 2 {
		f := exampletest.Start(t, "-store", store, "follow")
		require.Equal(t, "dark-mode is on", f.Line())
		followers = append(followers, f)
	}

	// A follower that is late sees only the last of several changes, so wait for it.
	set("set", "dark-mode=off")
	for _, f := range followers {
		require.Equal(t, "dark-mode is off, was on", f.Line())
	}
	set("unset", "dark-mode", "was-never-set")
	for _, f := range followers {
		require.Equal(t, "dark-mode is unset, was off", f.Line())
	}
	set("set", "log-level=debug", "search=new")
	for _, f := range followers {
		lines := []string{f.Line(), f.Line()}
		slices.Sort(lines)
		require.Equal(t, []string{"log-level is debug", "search is new"}, lines)
	}
	set("set", "end=yes")
	for _, f := range followers {
		require.Equal(t, "end is yes", f.Line())
		f.Signal(syscall.SIGTERM)
		require.Empty(t, f.End())
		require.Contains(t, f.Stderr(), "level=DEBUG msg=followed flag=end version=", "the level was followed")
	}
}

func TestMistakes(t *testing.T) {
	store := filepath.Join(t.TempDir(), "store")
	for _, args := range []string{"", "sett a=b", "set a=b c", "set =b"} {
		p := exampletest.Start(t, append([]string{"-store", store}, strings.Fields(args)...)...)
		require.Contains(t, p.Fail(), "expected", args)
	}
	// The good half of a bad command was not done.
	f := exampletest.Start(t, "-store", store, "follow")
	exampletest.Run(t, "-store", store, "set", "first=1")
	require.Equal(t, "first is 1", f.Line())
	f.Signal(syscall.SIGINT)
	require.Empty(t, f.End())
}
