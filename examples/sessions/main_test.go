package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/examples/internal/exampletest"
	"github.com/seed-869cc763/shmkv/shm/cache"
)

func TestMain(m *testing.M) { exampletest.Main(m, main) }

// No visit is lost, whichever processes count them at the same time.
func TestProcesses(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	out := exampletest.Run(t, "-store", dir, "-procs", "3", "-users", "2", "-visits", "60", "-ttl", "1h", "-wait=false")
	require.Equal(t, `3 processes have served the sessions, 0 visits came after their end
user1: 180 visits, of pages map[page1:60 page2:60 page3:60]
user2: 180 visits, of pages map[page1:60 page2:60 page3:60]
user1 has logged out
`, out)

	// The cache is kept, and has the session of user2.
	c, err := cache.Open(dir, nil)
	require.NoError(t, err)
	require.EqualValues(t, 1, c.Stats().Items)
	require.NoError(t, c.Close())
}

// Sessions end by themselves. The program fails if one ends too early.
func TestEnd(t *testing.T) {
	exampletest.LeavesNothing(t, "/dev/shm/shmkv-sessions-*")
	lines := strings.Split(strings.TrimSpace(exampletest.Run(t, "-procs", "2", "-users", "3", "-visits", "5", "-ttl", "300ms")), "\n")
	require.Len(t, lines, 6)
	var n int
	_, err := fmt.Sscanf(lines[5], "all sessions have ended, %d of them by time", &n)
	require.NoError(t, err, lines)
}

// Who stops the program finds nothing of it.
func TestStop(t *testing.T) {
	exampletest.LeavesNothing(t, "/dev/shm/shmkv-sessions-*")
	p := exampletest.Start(t, "-procs", "1", "-visits", "1", "-ttl", "1h")
	require.Contains(t, p.Line(), "1 processes have served")
	p.Signal(syscall.SIGTERM)
	require.Contains(t, p.Fail(), "context canceled")
}

// Each use makes a session last longer. To look when it ends is none.
func TestSessions(t *testing.T) {
	var nanos atomic.Int64
	nanos.Store(time.Now().UnixNano())
	c, err := cache.Open(filepath.Join(t.TempDir(), "cache"), &cache.Options{Now: func() time.Time { return time.Unix(0, nanos.Load()) }})
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	s := NewSessions(c, time.Minute)
	later := func(d time.Duration) { nanos.Add(int64(d)) }

	ann, err := s.Login("ann")
	require.NoError(t, err)
	bob, err := s.Login("bob")
	require.NoError(t, err)
	require.NotEqual(t, ann, bob)
	later(40 * time.Second)
	require.NoError(t, s.Visit(ann, "start"))
	ends, err := s.Ends(bob)
	require.NoError(t, err)
	require.Equal(t, nanos.Load()+int64(20*time.Second), ends.UnixNano())
	later(40 * time.Second)
	_, err = s.Show(bob)
	require.ErrorIs(t, err, ErrEnded)
	require.ErrorIs(t, s.Visit(bob, "start"), ErrEnded)
	require.ErrorIs(t, s.Logout(bob), ErrEnded)
	v, err := s.Show(ann)
	require.NoError(t, err)
	require.Equal(t, Session{"ann", 1, map[string]int{"start": 1}}, v)
	later(59 * time.Second)
	require.NoError(t, s.Visit(ann, "start"))
	require.NoError(t, s.Logout(ann))
	_, err = s.Ends(ann)
	require.ErrorIs(t, err, ErrEnded)
	require.ErrorIs(t, s.Visit("guessed", "start"), ErrEnded)
}
