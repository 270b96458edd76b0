package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/seed-869cc763/shmkv/shm"
)

// An interrupted verb exits with exitInterrupted. Other errors keep their exit codes.
func TestInterruptible(t *testing.T) {
	cmd := &cobra.Command{Use: "backup"}
	cmd.SetContext(context.Background())
	signals := []syscall.Signal{syscall.SIGINT, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		signals = append(signals, syscall.SIGHUP)
	}
	for _, sig := range signals {
		err := interruptible(cmd, func(ctx context.Context) error {
			require.NoError(t, syscall.Kill(os.Getpid(), sig))
			<-ctx.Done()
			return ctx.Err()
		})
		require.ErrorContains(t, err, "backup: interrupted")
		require.Equal(t, exitInterrupted, exitCode(err))
	}
	require.ErrorIs(t, interruptible(cmd, func(context.Context) error { return shm.ErrFull }), shm.ErrFull)
	require.NoError(t, interruptible(cmd, func(context.Context) error { return nil }))
}

// The progress bar appears only on a terminal, and is erased at the end.
func TestProgress(t *testing.T) {
	require.Nil(t, newProgress(io.Discard, "backup").show)
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	require.NoError(t, err)
	require.Nil(t, newProgress(f, "backup").show)
	require.NoError(t, f.Close())

	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	defer func() { _ = master.Close() }()
	require.NoError(t, unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0))
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, master.Fd(), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY)
	if errno != 0 {
		t.Skipf("no terminals here: %v", errno)
	}
	terminal := os.NewFile(fd, "terminal")
	defer func() { _ = terminal.Close() }()
	bar := newProgress(terminal, "backup")
	require.NotNil(t, bar.show)
	bar.show(0, 100)
	bar.show(50, 100)
	bar.clear()
	b := make([]byte, 4096)
	n, err := master.Read(b)
	require.NoError(t, err)
	require.True(t, bytes.Contains(b[:n], []byte("backup")), "%q", b[:n])
	t.Logf("%q", b[:n])
}
