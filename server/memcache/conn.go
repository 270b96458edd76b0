package memcache

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A conn is a connection. Its methods are called by its own goroutine only.
type conn struct {
	srv    *Server
	nc     net.Conn
	raw    syscall.RawConn // of nc; nil if it has none
	fd     int             // of nc, which names the connection in stats conns; -1 if it has none
	counts *counts

	in     input
	output output
	out    []byte // answers that were not written yet; memory of work, or of output.block
	work   *work  // nil while the connection is idle

	noreply bool // no answer to this request, unless it is an error that desynchronises
	known   bool // the client has authenticated itself
	answers int  // to requests since the connection was idle or waited
	reason  closeReason

	// Others read these.
	state    atomic.Uint32 // a connState
	last     atomic.Int64  // when the last bytes arrived, as Server.seconds
	stopping atomic.Bool   // the server is shutting down
}

// A connState is what a connection does.
type connState uint32

const (
	stateExecutes connState = iota
	stateAwaitsRequest
	stateAwaitsValue
	stateSwallows
	stateWrites
	stateWatches
)

// connStates has memcached's names of the states.
var connStates = [...]string{"conn_parse_cmd", "conn_read", "conn_nread", "conn_swallow", "conn_mwrite", "conn_watch"}

// A closeReason is why a connection ends.
type closeReason uint8

const (
	closedInError closeReason = iota
	closedNormally
	closedIdle
	closedByShutdown
)

// closeReasons has memcached's names of the reasons.
var closeReasons = [...]string{"error", "normal", "idle_timeout", "shutdown"}

// work is the memory that a connection needs while it is not idle.
type work struct {
	in     [inputBytes]byte
	out    []byte
	key    [maxKey]byte
	tokens [maxTokens][]byte
	keys   [][]byte
	touch  toucher
	join   joiner
}

const (
	inputBytes  = 16 << 10
	outputBytes = 16 << 10
	maxKey      = 250
	maxTokens   = 24
)

var works = sync.Pool{New: func() any {
	w := &work{out: make([]byte, 0, outputBytes)}
	w.touch.fn = w.touch.touch
	w.join.fn = w.join.join
	return w
}}

// errClose ends a connection after its output was written, for no fault of its own.
var errClose = errors.New("connection is to be closed")

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{srv: s, nc: nc, fd: -1}
	if sc, ok := nc.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			c.raw = raw
			_ = raw.Control(func(fd uintptr) { c.fd = int(fd) })
		}
	}
	c.in.c = c
	c.in.try = c.in.tryRead
	c.output.c = c
	c.output.try = c.output.tryWrite
	c.last.Store(s.seconds.Load())
	return c
}

// serve executes requests until the connection ends, and closes it.
func (c *conn) serve() {
	s := c.srv
	if s.watchers.want(watchConns) {
		s.watchers.opened(c)
	}
	if s.verbose.Load() > 1 {
		s.log.Info("connection is open", "conn", c.fd)
	}
	var err error
	for err == nil {
		err = c.request()
	}
	switch {
	case errors.Is(err, errClose):
		_ = c.flush()
	case errors.Is(err, io.EOF):
		c.reason = closedNormally
	}
	c.rest()
	c.nc.Close()
	if s.watchers.want(watchConns) {
		s.watchers.ended(c)
	}
	if s.verbose.Load() > 1 {
		s.log.Info("connection is closed", "conn", c.fd, "reason", closeReasons[c.reason])
	}
}

// request executes the next request.
func (c *conn) request() error {
	first, err := c.in.peek()
	if err != nil {
		return err
	}
	o := &c.srv.opts
	c.noreply = false
	switch {
	case o.Auth != nil && !c.known:
		return c.authenticate()
	case o.Binary || first == binaryRequest && !o.Text && o.Auth == nil:
		return c.binary()
	}
	line, err := c.in.line()
	if err != nil {
		if err == errLine {
			_ = c.sayAlways("CLIENT_ERROR line too long")
			return errClose
		}
		return err
	}
	if i := bytes.IndexByte(line, 0); i >= 0 {
		line = line[:i] // to memcached it ends there
	}
	if c.srv.verbose.Load() > 1 {
		c.srv.log.Info("request", "conn", c.fd, "line", string(line[:min(len(line), 100)]))
	}
	if err := c.flushFull(); err != nil {
		return err
	}
	c.answers++
	for len(line) > 0 && line[0] == ' ' {
		line = line[1:]
	}
	if len(line) >= 2 && line[0] == 'm' && (len(line) == 2 || line[2] == ' ') {
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
	c.in.release()
	c.releaseOut()
	c.work, c.in.buf, c.in.r, c.in.w, c.out = nil, nil, 0, 0, nil
	works.Put(w)
}

// idleTooLong reports whether the connection is to be closed because nothing has arrived for
// so long.
func (c *conn) idleTooLong() bool {
	t := c.srv.opts.IdleTimeout
	if t == 0 || connState(c.state.Load()) != stateAwaitsRequest {
		return false
	}
	return time.Duration(c.srv.seconds.Load()-c.last.Load())*time.Second > t
}
