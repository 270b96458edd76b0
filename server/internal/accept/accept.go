// Package accept is the loop of the servers that accepts connections.
package accept

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"syscall"
	"time"
)

// All accepts connections of l, and gives each to serve, which must not block. It returns nil
// after an error while closing reports true. After an error of one connection, or while the
// process lacks files or memory, it logs and goes on. Other errors it returns.
func All(l net.Listener, log *slog.Logger, closing func() bool, serve func(net.Conn)) error {
	for {
		c, err := l.Accept()
		switch {
		case err == nil:
			serve(c)
		case closing():
			return nil
		case isTransient(err):
			log.Warn("no connection could be accepted", "error", err)
			time.Sleep(pause)
		default:
			return fmt.Errorf("accepting a connection on %s: %w", l.Addr(), err)
		}
	}
}

// pause is how long a listener rests after an error.
const pause = 20 * time.Millisecond

// transient are the errors after which a listener may work again: the process lacks something,
// or it is one of the connection, which Linux tells here.
var transient = []syscall.Errno{
	syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ENOBUFS, syscall.ENOSR,
	syscall.ECONNABORTED, syscall.EPERM, syscall.EPROTO, syscall.ENOPROTOOPT, syscall.EOPNOTSUPP, syscall.ETIMEDOUT,
	syscall.ENETDOWN, syscall.ENETUNREACH, syscall.EHOSTDOWN, syscall.EHOSTUNREACH, syscall.ENONET,
}

func isTransient(err error) bool {
	e, ok := errors.AsType[syscall.Errno](err)
	return ok && slices.Contains(transient, e)
}
