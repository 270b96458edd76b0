package memcache

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/cache"
)

// A conn is a connection. It is
//
//	idle       nothing of it is buffered, and no goroutine has it
//	running    a goroutine has it; the methods are called by this one only
//	signalled  running, and something has happened to its socket or the server
//
// The goroutine that makes an idle connection a running one has it from then on.
type conn struct {
	srv           *Server
	fd            int // of the socket; its number names the connection in stats conns
	loop          *loop
	counts        *counts
	remote, local net.Addr

	in     input
	output output
	out    []byte // answers that were not written yet; memory of work, or of output.block
	work   *work  // nil while the connection is idle
	turn   *turn  // of the loop whose goroutine has the connection, or nil

	noreply bool // no answer to this request, unless it is an error that desynchronises
	known   bool // the client has authenticated itself
	speaks  protocol
	quick   bool // a read that gets less than it has room for has got all
	answers int  // to requests since the connection was idle or waited
	reads   int  // in this turn
	reason  closeReason

	// Others use these too.
	state  atomic.Uint32 // idle, running or signalled
	doing  atomic.Uint32 // a connState
	last   atomic.Int64  // when the last bytes arrived, or were taken by a client that is slow to read, as Server.seconds
	dead   atomic.Bool   // it is to end at once
	kicked atomic.Bool   // it was idle for too long
	woken  chan struct{} // has something, maybe, when the connection was signalled
}

// A protocol is the one that the first byte of a connection, or an option, has decided on.
type protocol uint8

const (
	undecided protocol = iota
	speaksText
	speaksBinary
)

const (
	idle uint32 = iota
	running
	signalled
)

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

// isKickable reports whether a connection waits for its client, which has forgotten it maybe.
// A watcher waits for others.
func (s connState) isKickable() bool { return s != stateExecutes && s != stateWatches }

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
	edit   edit
	meta   meta
}

const (
	inputBytes  = 16 << 10
	outputBytes = 16 << 10
	maxKey      = 250
	maxTokens   = 24
)

var works = sync.Pool{New: func() any {
	w := &work{out: make([]byte, 0, outputBytes)}
	w.edit.compute = w.edit.step
	m := &w.meta
	m.step = func(it cache.Item, exists bool) (cache.Item, shm.Action, error) { return m.decide(m, it, exists) }
	return w
}}

var (
	// errClose ends a connection after its output was written, for no fault of its own.
	errClose = errors.New("connection is to be closed")
	// errIdle: nothing has arrived, and nothing is buffered.
	errIdle = errors.New("connection is idle")
)

// newConn takes the socket of nc over, which is no connection of Go's netpoll any more. The
// caller has claimed it.
func newConn(s *Server, nc net.Conn, l *loop) (*conn, error) {
	defer nc.Close()
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return nil, fmt.Errorf("memcache: found a connection of type %T, expected one of a socket", nc)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("memcache: taking a connection: %w", err)
	}
	c := &conn{srv: s, loop: l, remote: nc.RemoteAddr(), local: nc.LocalAddr(), woken: make(chan struct{}, 1)}
	if e := raw.Control(func(fd uintptr) { c.fd, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) }); e != nil {
		err = e
	}
	if err != nil {
		return nil, fmt.Errorf("memcache: taking a connection: %w", err)
	}
	c.in.c = c
	c.last.Store(s.seconds.Load())
	c.state.Store(running)
	return c, nil
}

// claim makes an idle connection a running one, and reports whether it was idle. Else it
// signals whoever has it.
func (c *conn) claim() bool {
	for {
		if c.state.CompareAndSwap(idle, running) {
			return true
		}
		if c.state.Load() == signalled {
			return false
		}
		if c.state.CompareAndSwap(running, signalled) {
			select {
			case c.woken <- struct{}{}:
			default:
			}
			return false
		}
	}
}

// run executes requests until the connection is idle or has ended. The caller has claimed it.
func (c *conn) run() {
	c.reads = 0
	var began time.Time
	for n := 1; ; n++ {
		err := c.request()
		if err == nil {
			switch { // seldom, because to look at the clock takes its time
			case n == turnStep:
				began = time.Now()
			case n%turnStep == 0 && time.Since(began) > turnTime:
				c.leaveLoop()
			}
			continue
		}
		if err != errIdle || c.srv.closing.Load() {
			c.end(err)
			return
		}
		t := c.turn
		c.rest()
		c.turn = nil
		if c.state.CompareAndSwap(running, idle) {
			return // and somebody else may have it already
		}
		c.state.Store(running)
		c.turn, c.quick = t, false
	}
}

// A connection whose requests take more than turnTime together leaves the loop to others. It looks
// at that after each turnStep requests.
const (
	turnStep = 8
	turnTime = time.Millisecond
)

// block waits for a signal. Until then the connection does what doing says.
func (c *conn) block(doing connState) error {
	c.turn.give()
	c.doing.Store(uint32(doing))
	for !c.state.CompareAndSwap(signalled, running) {
		<-c.woken
	}
	c.doing.Store(uint32(stateExecutes))
	c.quick = false
	if c.dead.Load() {
		return errClose
	}
	return nil
}

// leaveLoop lets the goroutine take its time from now on.
func (c *conn) leaveLoop() { c.turn.give() }

// end closes the connection, which ends because of err.
func (c *conn) end(err error) {
	s := c.srv
	switch {
	case errors.Is(err, errClose) && !c.dead.Load():
		_ = c.flush()
	case err == io.EOF:
		c.reason = closedNormally
	}
	if s.closing.Load() && c.reason == closedInError {
		c.reason = closedByShutdown
	}
	c.rest()
	s.files.set(c.fd, nil)
	_ = unix.Close(c.fd)
	if s.watchers.want(watchConns) {
		s.watchers.ended(c)
	}
	if s.verbose.Load() > 1 {
		s.log.Info("connection is closed", "conn", c.fd, "reason", closeReasons[c.reason])
	}
	s.forget(c)
}

// kick ends a connection that has been idle for too long, unless something has arrived just
// now. The caller has claimed it.
func (c *conn) kick() {
	if !c.isKicked() {
		c.run()
		return
	}
	c.end(errClose)
}

// isKicked reports whether the connection is to end because its client has done nothing for so
// long.
func (c *conn) isKicked() bool {
	if !c.kicked.Load() {
		return false
	}
	if !c.isQuiet() {
		c.kicked.Store(false)
		return false
	}
	c.counts.add(idleKicks, 1)
	c.reason = closedIdle
	return true
}

// isQuiet reports whether the client has neither sent nor taken anything for Options.IdleTimeout.
func (c *conn) isQuiet() bool {
	t := c.srv.opts.IdleTimeout
	return t != 0 && time.Duration(c.srv.seconds.Load()-c.last.Load())*time.Second > t
}

// request executes the next request.
func (c *conn) request() error {
	first, err := c.in.peek()
	if err != nil {
		return err
	}
	o := &c.srv.opts
	c.noreply = false
	if c.speaks == undecided {
		c.speaks = speaksText
		if o.Binary || first == binaryRequest && !o.Text && o.Auth == nil {
			c.speaks = speaksBinary
		}
	}
	switch {
	case o.Auth != nil && !c.known:
		return c.authenticate()
	case c.speaks == speaksBinary:
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
	if len(line) >= 2 && line[0] == 'm' && line[1] != ' ' && (len(line) == 2 || line[2] == ' ') {
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

// rest takes the work from a connection.
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

// stateNow returns what the connection does.
func (c *conn) stateNow() connState {
	if c.state.Load() == idle {
		return stateAwaitsRequest
	}
	return connState(c.doing.Load())
}
