package accept

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// A failing listener fails at first.
type failing struct {
	net.Listener
	errs []error
}

func (l *failing) Accept() (net.Conn, error) {
	if len(l.errs) > 0 {
		err := l.errs[0]
		l.errs = l.errs[1:]
		return nil, &net.OpError{Op: "accept", Net: "unix", Err: os.NewSyscallError("accept4", err)}
	}
	return l.Listener.Accept()
}

// Errors of one connection, and a lack of files, do not end the loop. Others do, and so does
// closing the listener.
func TestAll(t *testing.T) {
	path := t.TempDir() + "/socket"
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	var closing atomic.Bool
	ended := make(chan error, 1)
	errs := []error{syscall.EMFILE, syscall.ECONNABORTED, syscall.EPROTO, syscall.EHOSTUNREACH, syscall.EPERM}
	all := func() {
		ended <- All(&failing{l, errs}, slog.New(slog.DiscardHandler), closing.Load, func(c net.Conn) {
			_, _ = io.WriteString(c, "hello")
			_ = c.Close()
		})
	}
	go all()
	c, err := net.Dial("unix", path)
	require.NoError(t, err)
	got, err := io.ReadAll(c)
	require.NoError(t, err)
	require.Equal(t, "hello", string(got))
	closing.Store(true)
	require.NoError(t, l.Close())
	require.NoError(t, <-ended)

	closing.Store(false)
	errs = []error{syscall.EINVAL}
	all()
	err = <-ended
	require.True(t, errors.Is(err, syscall.EINVAL), err)
	require.ErrorContains(t, err, "accepting a connection on "+path)
}
