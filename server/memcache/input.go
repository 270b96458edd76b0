package memcache

import (
	"bytes"
	"errors"
	"io"
	"os"
	"syscall"
	"time"
)

// An input has the bytes that a client has sent and that were not consumed yet. Before it
// waits for more, it writes the output of the connection. What its methods return is valid
// until the next call of one of them; an error ends the connection.
type input struct {
	c     *conn
	buf   []byte // nil while the connection is idle; memory of work, or of block
	r, w  int    // buf[r:w] has arrived
	block *block // that was needed for a value or a line that work is too small for; nil else

	try func(fd uintptr) bool // tryRead, made once
	as  connState             // in which it waits
	n   int                   // result of tryRead
	err error
}

const (
	maxLine    = 2048
	maxGetLine = 256 << 10
)

// errLine: a line is longer than the protocol allows.
var errLine = errors.New("line is too long")

// peek returns the next byte, and leaves it in the input.
func (in *input) peek() (byte, error) {
	if in.r == in.w {
		if err := in.fill(1); err != nil {
			return 0, err
		}
	}
	return in.buf[in.r], nil
}

// line returns the next line without its end.
func (in *input) line() ([]byte, error) {
	for seen := 0; ; {
		i := bytes.IndexByte(in.buf[in.r+seen:in.w], '\n')
		end := in.w - in.r
		if i >= 0 {
			end = seen + i
		}
		if end > maxLine && (end > maxGetLine || !mayBeLong(in.buf[in.r:in.w])) {
			return nil, errLine
		}
		if i >= 0 {
			line := in.buf[in.r : in.r+end]
			in.r += end + 1
			if end > 0 && line[end-1] == '\r' {
				line = line[:end-1]
			}
			return line, nil
		}
		seen = end
		if err := in.fill(seen + 1); err != nil {
			return nil, err
		}
	}
}

// mayBeLong reports whether a line that begins so may have more than maxLine bytes.
func mayBeLong(line []byte) bool {
	line = bytes.TrimLeft(line[:min(len(line), 100)], " ")
	return bytes.HasPrefix(line, []byte("get ")) || bytes.HasPrefix(line, []byte("gets ")) ||
		bytes.HasPrefix(line, []byte("gat ")) || bytes.HasPrefix(line, []byte("gats "))
}

// data returns the next n bytes.
func (in *input) data(n int) ([]byte, error) {
	for in.w-in.r < n {
		if err := in.fillAs(n, stateAwaitsValue); err != nil {
			return nil, err
		}
	}
	in.r += n
	return in.buf[in.r-n : in.r], nil
}

// discard reads n bytes and forgets them.
func (in *input) discard(n int) error {
	for {
		have := min(in.w-in.r, n)
		in.r += have
		n -= have
		if n == 0 {
			return nil
		}
		if err := in.fillAs(1, stateSwallows); err != nil {
			return err
		}
	}
}

// fill waits for bytes and reads them behind those that there are. It makes room for need
// bytes in all, but not for much more than has arrived.
func (in *input) fill(need int) error { return in.fillAs(need, stateAwaitsRequest) }

// fillAs is fill, in a state by which stats conns tells for what the connection waits.
func (in *input) fillAs(need int, as connState) error {
	c := in.c
	if err := c.flush(); err != nil {
		return err
	}
	c.answers = 0
	if in.r == in.w {
		in.r, in.w = 0, 0
		if in.block != nil && need <= inputBytes {
			in.release()
			in.buf = c.work.in[:]
		}
	}
	if in.buf != nil {
		in.makeRoom(need)
	}
	in.as = as
	if err := in.read(); err != nil {
		return err
	}
	if in.n <= 0 {
		if in.err == nil {
			in.err = io.EOF
		}
		return in.err
	}
	in.w += in.n
	c.counts.add(bytesRead, in.n)
	c.last.Store(c.srv.seconds.Load())
	return nil
}

// read waits, and leaves its result in n and err.
func (in *input) read() error {
	c := in.c
	for {
		var err error
		if c.raw != nil {
			err = c.raw.Read(in.try)
		} else {
			err = in.readPlain()
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		// The server shuts down, or the connection was idle for too long, or it was not when
		// it came to this.
		switch {
		case c.stopping.Load():
			c.reason = closedByShutdown
			return in.readLast()
		case c.idleTooLong():
			c.counts.add(idleKicks, 1)
			c.reason = closedIdle
			return errClose
		}
		if err := c.nc.SetReadDeadline(time.Time{}); err != nil {
			return err
		}
		if c.stopping.Load() { // Shutdown has set the deadline just before
			_ = c.nc.SetReadDeadline(past)
		}
	}
}

// readPlain reads from a connection that is no file.
func (in *input) readPlain() error {
	c := in.c
	if in.buf == nil {
		c.begin()
	}
	c.state.Store(uint32(in.as))
	in.n, in.err = c.nc.Read(in.buf[in.w:])
	if errors.Is(in.err, os.ErrDeadlineExceeded) {
		return in.err
	}
	c.state.Store(uint32(stateExecutes))
	return nil
}

// readLast reads what has arrived, without waiting.
func (in *input) readLast() error {
	if in.c.raw == nil {
		return errClose
	}
	arrived := false
	if err := in.c.raw.Control(func(fd uintptr) { arrived = in.tryRead(fd) }); err != nil {
		return err
	}
	if !arrived {
		return errClose
	}
	return nil
}

// tryRead reads what there is. Without anything it returns false, and a connection that is
// idle waits without buffers.
func (in *input) tryRead(fd uintptr) bool {
	c := in.c
	if in.buf == nil {
		c.begin()
	}
	for {
		in.n, in.err = syscall.Read(int(fd), in.buf[in.w:])
		switch in.err {
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			if in.r == in.w {
				c.rest()
			}
			c.state.Store(uint32(in.as))
			return false
		}
		if connState(c.state.Load()) != stateExecutes {
			c.state.Store(uint32(stateExecutes))
		}
		return true
	}
}

// makeRoom makes room behind the bytes that have arrived.
func (in *input) makeRoom(need int) {
	if len(in.buf)-in.r >= need && in.w < len(in.buf) {
		return
	}
	have := in.w - in.r
	if need <= len(in.buf) || have <= len(in.buf)/2 {
		copy(in.buf, in.buf[in.r:in.w])
		in.r, in.w = 0, have
		return
	}
	b := takeBlock(min(2*len(in.buf), need))
	copy(b.bytes, in.buf[in.r:in.w])
	in.release()
	in.block, in.buf, in.r, in.w = b, b.bytes, 0, have
}

// release gives a block that the input is in back. Its bytes are still where they are.
func (in *input) release() {
	giveBlock(in.block)
	in.block = nil
}
