package memcache

import (
	"errors"
	"net"
	"sync"
	"syscall"
)

// A conn is a connection. Its methods are called by its own goroutine only.
type conn struct {
	srv *Server
	nc  net.Conn
	raw syscall.RawConn // of nc; nil if it has none

	in   input
	out  []byte // answers that were not written yet; its memory belongs to work
	work *work  // nil while the connection is idle

	noreply bool // no answer to this request, unless it is an error that desynchronises
}

// work is the memory that a connection needs while it is not idle.
type work struct {
	in     [inputBytes]byte
	out    []byte
	key    [maxKey]byte
	tokens [maxTokens][]byte
	keys   [][]byte
}

const (
	inputBytes  = 16 << 10
	outputBytes = 16 << 10
	maxKey      = 250
	maxTokens   = 24
)

var works = sync.Pool{New: func() any { return &work{out: make([]byte, 0, outputBytes)} }}

// errClose ends a connection after its output was written, for no fault of its own.
var errClose = errors.New("connection is to be closed")

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{srv: s, nc: nc}
	if sc, ok := nc.(syscall.Conn); ok {
		c.raw, _ = sc.SyscallConn()
	}
	c.in.c = c
	c.in.try = c.in.tryRead
	return c
}

// serve executes requests until the connection ends.
func (c *conn) serve() {
	for {
		if err := c.request(); err != nil {
			if err == errClose {
				_ = c.flush()
			}
			c.rest()
			return
		}
	}
}

// request executes the next request.
func (c *conn) request() error {
	first, err := c.in.peek()
	if err != nil {
		return err
	}
	c.noreply = false
	if first == binaryRequest && !c.srv.opts.Text || c.srv.opts.Binary && !c.srv.opts.Text {
		return c.binary()
	}
	line, err := c.in.line()
	if err != nil {
		return err
	}
	if len(line) >= 3 && line[0] == 'm' && line[2] == ' ' {
		return c.meta(line)
	}
	return c.text(line)
}

// binaryRequest is the first byte of a request of the binary protocol.
const binaryRequest = 0x80

// begin gives the connection its work.
func (c *conn) begin() {
	c.work = works.Get().(*work)
	c.in.buf = c.work.in[:]
	c.out = c.work.out[:0]
}

// rest takes the work from an idle connection.
func (c *conn) rest() {
	w := c.work
	if w == nil {
		return
	}
	c.work, c.in.buf, c.in.r, c.in.w, c.out = nil, nil, 0, 0, nil
	works.Put(w)
}
