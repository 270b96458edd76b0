package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/shm"
)

// top shows the activity of each process in an interval, and its pins.
func TestTopTellsWhoDoesWhat(t *testing.T) {
	s := newStore(t)
	require.NoError(t, s.Set([]byte("a"), []byte("1")))
	reader, err := shm.Open(s.Path(), &shm.Options{ReadOnly: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, reader.Close()) }()
	sn, err := reader.Snapshot()
	require.NoError(t, err)
	defer func() { require.NoError(t, sn.Close()) }()

	mine, err := openToRead(s.Path())
	require.NoError(t, err)
	defer func() { require.NoError(t, mine.Close()) }()
	store := &topStore{s: mine}
	first, err := store.look()
	require.NoError(t, err)
	require.Zero(t, first.PerSecond)
	require.Len(t, first.Processes, 2, "not its own")
	require.NoError(t, s.Update(func(tx *shm.Tx) error {
		return errors.Join(tx.Set([]byte("a"), nil), tx.Set([]byte("b"), nil))
	}))
	require.NoError(t, s.Set([]byte("c"), nil))
	l, err := store.look()
	require.NoError(t, err)
	require.InDelta(t, 2, l.PerSecond.Commits*l.Seconds, 1e-6)
	require.InDelta(t, 3, l.PerSecond.Changes*l.Seconds, 1e-6)
	w, r := l.Processes[0], l.Processes[1] // in the order of their Open
	require.Equal(t, l.PerSecond.Commits, w.PerSecond.Commits)
	require.Equal(t, l.PerSecond.Changes, w.PerSecond.Changes)
	require.Equal(t, 1, w.Writers)
	require.Zero(t, w.Pins)
	require.Zero(t, r.PerSecond)
	require.True(t, r.ReadOnly)
	require.Equal(t, 1, r.Pins)
	require.Equal(t, uint64(2), r.Behind)
	require.WithinDuration(t, time.Now(), *r.Since, time.Minute)

	for range 2 { // no more activity
		l, err = store.look()
		require.NoError(t, err)
	}
	require.Zero(t, l.PerSecond)
}

// Damage ends top with an error that describes it.
func TestTopOfDamagedStore(t *testing.T) {
	s := newStore(t)
	require.NoError(t, s.Set([]byte("a"), []byte("1")))
	mine, err := openToRead(s.Path())
	require.NoError(t, err)
	defer func() { require.NoError(t, mine.Close()) }()
	data := filepath.Join(s.Path(), "data")
	var end [8]byte
	f, err := os.OpenFile(data, os.O_RDWR, 0)
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	_, err = f.ReadAt(end[:], 0x1008)
	require.NoError(t, err)
	_, err = f.WriteAt(bytes.Repeat([]byte{0xff}, 8), 0x1008)
	require.NoError(t, err)
	store := &topStore{s: mine}
	_, err = store.look()
	require.ErrorIs(t, err, shm.ErrCorrupt)
	require.Contains(t, err.Error(), "see shmctl check")
	_, err = f.WriteAt(end[:], 0x1008)
	require.NoError(t, err)
}

// Without a terminal a signal ends top with exitInterrupted.
func TestTopInterrupted(t *testing.T) {
	s := newStore(t)
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		cmd := exec.Command("shmctl", "top", s.Path(), "--interval", "10ms", "--json")
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		d := json.NewDecoder(out)
		for range 2 {
			var l topLook
			require.NoError(t, d.Decode(&l))
			require.Len(t, l.Processes, 1)
			require.Equal(t, os.Getpid(), l.Processes[0].Pid)
		}
		require.NoError(t, cmd.Process.Signal(sig))
		_, _ = out.Read(make([]byte, 1<<16))
		var exit *exec.ExitError
		require.ErrorAs(t, cmd.Wait(), &exit)
		require.Equal(t, exitInterrupted, exit.ExitCode())
		require.Equal(t, "shmctl: top: interrupted\n", stderr.String())
	}
}
