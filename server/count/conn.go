package count

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// workBytes is how much is read from a connection at once, and how much of an answer is written
// at once. Messages and rows that are longer have a buffer of their length.
const workBytes = 64 << 10

// mostRest is how large the memory of a rest is that a connection keeps while it has none.
const mostRest = 1 << 10

// works are buffers of workBytes that are not in use.
var works = sync.Pool{New: func() any { return new([workBytes]byte) }}

// A handler carries out the messages of a connection.
type handler interface {
	// handle carries out whole messages and answers them. They are the caller's buffer again
	// when it calls done, which it must before it waits for the client.
	handle(messages []byte, done func()) error
	// end waits until the answers are written, or cannot be.
	end()
}

// A conn is a connection.
type conn struct {
	net.Conn
	s    *Server
	raw  syscall.RawConn
	size int // of a message
	rest []byte

	finishing atomic.Bool // no more is awaited
}

func newConn(s *Server, nc net.Conn, size int) (*conn, error) {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return nil, fmt.Errorf("found a connection of type %T, expected one of TCP or a unix socket", nc)
	}
	raw, err := sc.SyscallConn()
	return &conn{Conn: nc, s: s, raw: raw, size: size}, err
}

// finish makes the connection end when it has answered what has arrived.
func (c *conn) finish() {
	c.finishing.Store(true)
	_ = c.SetReadDeadline(time.Unix(1, 0))
}

// run serves the connection until it ends.
func (c *conn) run(h handler) {
	var err error
	for err == nil {
		err = c.step(h)
	}
	if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) && !errors.Is(err, os.ErrDeadlineExceeded) {
		level := c.s.log.Warn
		if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
			level = c.s.log.Info
		}
		level("a connection was closed", "client", c.RemoteAddr(), "error", err)
		c.drain(h)
	}
	h.end()
	_ = c.Close()
}

// drain ends the answers, and drops what the client sends until it closes the connection, but
// for no longer than the patience of the server. A socket that is closed with unread bytes
// resets the connection, and TCP drops the answers that have not arrived then.
func (c *conn) drain(h handler) {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok || c.SetReadDeadline(time.Now().Add(c.s.opts.Patience)) != nil {
		return
	}
	go func() {
		h.end()
		_ = half.CloseWrite()
	}()
	if !c.finishing.Load() { // or finish may have set its deadline before
		_, _ = io.Copy(io.Discard, c.Conn)
	}
}

// writeNow writes what the socket takes at once. The error is unix.EAGAIN if that is nothing.
func (c *conn) writeNow(b []byte) (n int, err error) {
	closed := c.raw.Write(func(fd uintptr) bool {
		for {
			if n, err = unix.Write(int(fd), b); err != unix.EINTR {
				return true
			}
		}
	})
	if closed != nil {
		return 0, closed
	}
	return n, err
}

// step awaits bytes and carries out the messages that have arrived whole. Its error is io.EOF if
// the client sends no more, or if the server ends and no more has arrived.
func (c *conn) step(h handler) error {
	w, n, err := c.read()
	if err != nil {
		return err
	}
	held := true
	done := func() {
		if held {
			held = false
			w.giveBack()
		}
	}
	defer done()
	whole := n - n%c.size
	if c.rest = append(c.rest[:0], w.b[whole:n]...); len(c.rest) == 0 && cap(c.rest) > mostRest {
		c.rest = nil
	}
	if whole == 0 {
		return nil
	}
	return h.handle(w.b[:whole], done)
}

// A work is the buffer of a connection.
type work struct {
	b    []byte
	pool *[workBytes]byte // nil: b is of its own
}

func newWork(size int) work {
	if size > workBytes {
		return work{b: make([]byte, size)}
	}
	p := works.Get().(*[workBytes]byte)
	return work{p[:], p}
}

func (w work) giveBack() {
	if w.pool != nil {
		works.Put(w.pool)
	}
}

// read waits until bytes have arrived, and reads them behind the rest of those before. n is the
// number of both.
func (c *conn) read() (w work, n int, err error) {
	got := -1
	var failed error
	try := func(fd uintptr) (ready bool) {
		w = newWork(c.size)
		w.b = w.b[:len(w.b)-len(w.b)%c.size] // so that a rest is rare
		n = copy(w.b, c.rest)
		for {
			got, failed = unix.Read(int(fd), w.b[n:])
			if failed != unix.EINTR {
				break
			}
		}
		if got > 0 {
			n += got
			return true
		}
		w.giveBack()
		return failed != unix.EAGAIN
	}
	if !c.finishing.Load() {
		err = c.raw.Read(try)
	}
	if c.finishing.Load() && (err == nil && got < 0 || errors.Is(err, os.ErrDeadlineExceeded)) {
		err = c.raw.Control(func(fd uintptr) { try(fd) }) // what has arrived all the same
		if failed == unix.EAGAIN {
			return w, 0, io.EOF
		}
	}
	switch {
	case err != nil:
		return w, 0, err
	case failed != nil:
		return w, 0, os.NewSyscallError("read", failed)
	case got == 0:
		return w, 0, io.EOF
	}
	return w, n, nil
}
