package daemon

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSplitPort(t *testing.T) {
	for _, c := range []struct {
		address, host string
		port          int
	}{
		{"192.0.2.1", "192.0.2.1", 7},
		{"192.0.2.1:8", "192.0.2.1", 8},
		{"192.0.2.1:0", "192.0.2.1", 0},
		{"::1", "::1", 7},
		{"fe80::1%lo", "fe80::1%lo", 7},
		{"[::1]", "::1", 7},
		{"[::1]:8", "::1", 8},
		{"host", "host", 7},
		{"host:8", "host", 8},
	} {
		host, port, err := splitPort(c.address, 7)
		require.NoError(t, err, c.address)
		require.Equal(t, c.host, host, c.address)
		require.Equal(t, c.port, port, c.address)
	}
	for _, address := range []string{":8", "host:x", "host:-1", "host:65536", "a:b:c", "[::1"} {
		_, _, err := splitPort(address, 7)
		require.ErrorContains(t, err, "expected a host, or host:port", address)
	}
}

// All addresses get one free port. One that is taken, or that this machine does not have, is an
// error, and then nothing is left open.
func TestListenTCP(t *testing.T) {
	all, err := ListenTCP(t.Context(), []string{"127.0.0.1", "127.0.0.2", "127.0.0.3"}, -1, false, 7)
	require.NoError(t, err)
	require.Len(t, all, 3)
	port := all[0].Addr().(*net.TCPAddr).Port
	for i, l := range all {
		require.Equal(t, net.JoinHostPort("127.0.0."+strconv.Itoa(i+1), strconv.Itoa(port)), l.Addr().String())
	}
	require.NoError(t, all[2].Close())
	_, err = ListenTCP(t.Context(), []string{"127.0.0.3", "127.0.0.1"}, port, false, 7)
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	again, err := ListenTCP(t.Context(), []string{"127.0.0.3"}, port, false, 7)
	require.NoError(t, err)
	for _, l := range append(again, all[:2]...) {
		require.NoError(t, l.Close())
	}

	_, err = ListenTCP(t.Context(), []string{"127.0.0.1", "192.0.2.1"}, -1, false, 7)
	require.ErrorIs(t, err, syscall.EADDRNOTAVAIL)
	some, err := ListenTCP(t.Context(), []string{"192.0.2.1", "127.0.0.1"}, -1, true, 7)
	require.NoError(t, err)
	require.Len(t, some, 1)
	require.NoError(t, some[0].Close())
	_, err = ListenTCP(t.Context(), []string{"192.0.2.1"}, -1, true, 7)
	require.ErrorIs(t, err, syscall.EADDRNOTAVAIL)
}

// A pid file is replaced as a whole, and removed only while it has the number of its writer.
func TestWritePID(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pid")
	require.NoError(t, os.WriteFile(path, []byte(strings.Repeat("9", 100)), 0o600))
	remove, err := WritePID(path)
	require.NoError(t, err)
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, strconv.Itoa(os.Getpid())+"\n", string(b))
	require.NoError(t, os.WriteFile(path, []byte("1\n"), 0o600))
	remove()
	require.FileExists(t, path)

	remove, err = WritePID(path)
	require.NoError(t, err)
	remove()
	require.NoFileExists(t, path)

	link := path + "link"
	require.NoError(t, os.Symlink(path, link))
	_, err = WritePID(link)
	require.ErrorContains(t, err, "expected a regular file or none")
	_, err = WritePID(filepath.Join(path, "below"))
	require.Error(t, err)
}

// A server that ends removes its socket file, and not that of another one, which has taken its
// place.
func TestSocketOfAnother(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	first, err := ListenUnix(path, 0o700, 7)
	require.NoError(t, err)
	require.NoError(t, os.Remove(path))
	second, err := ListenUnix(path, 0o700, 7)
	require.NoError(t, err)
	require.NoError(t, first.Close())
	require.FileExists(t, path)
	require.Error(t, first.Close())
	c, err := net.Dial("unix", path)
	require.NoError(t, err)
	require.NoError(t, c.Close())
	require.NoError(t, second.Close())
	require.NoFileExists(t, path)
}

// Another process that keeps the lock of the directory delays a server, and no more.
func TestListenUnixBesideLock(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	unlock, err := LockDir(dir)
	require.NoError(t, err)
	defer unlock()
	l, err := ListenUnix(filepath.Join(dir, "socket"), 0o600, 0)
	require.NoError(t, err)
	require.NoError(t, l.Close())
}
