package memcache

import (
	"bytes"
	"errors"
	"io"
	"syscall"
)

// An input has the bytes that a client has sent and that were not consumed yet. Before it
// waits for more, it writes the output of the connection. What its methods return is valid
// until the next call of one of them; an error ends the connection.
type input struct {
	c     *conn
	buf   []byte // nil while the connection is idle; memory of work, or of block
	r, w  int    // buf[r:w] has arrived
	block *block // that was needed for a value or a line that work is too small for; nil else

	drained bool // the last read has got all that there was
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

// fillAs is fill, in a state by which stats conns tells for what the connection waits. Without
// anything buffered it does not wait for a request: errIdle tells that there is none.
func (in *input) fillAs(need int, as connState) error {
	c := in.c
	if err := c.flush(); err != nil {
		return err
	}
	if c.dead.Load() {
		return errClose
	}
	c.answers = 0
	if in.r == in.w {
		in.r, in.w = 0, 0
		if in.block != nil && need <= inputBytes {
			in.release()
			in.buf = c.work.in[:]
		}
	}
	if in.buf == nil {
		c.begin()
	}
	in.makeRoom(need)
	begins := as == stateAwaitsRequest && in.w == 0
	if begins && in.drained {
		in.drained = false
		return errIdle
	}
	if c.reads++; c.reads > readsAtOnce {
		c.leaveLoop()
	}
	for {
		n, err := syscall.Read(c.fd, in.buf[in.w:])
		switch {
		case n > 0:
			in.drained = c.quick && n < len(in.buf)-in.w
			in.w += n
			c.counts.add(bytesRead, n)
			c.last.Store(c.srv.seconds.Load())
			return nil
		case err == nil:
			return io.EOF
		case err == syscall.EINTR:
			continue
		case err != syscall.EAGAIN:
			return err
		case begins:
			return errIdle
		case c.srv.closing.Load():
			return errClose
		}
		if err := c.block(as); err != nil {
			return err
		}
		if c.isKicked() {
			return errClose
		}
	}
}

// readsAtOnce is how often a connection may read before others of its loop get their turn.
const readsAtOnce = 32

// makeRoom makes room behind the bytes that have arrived.
func (in *input) makeRoom(need int) {
	if in.w < len(in.buf) && (need <= len(in.buf)-in.r || need > len(in.buf)) {
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

// ahead returns the next n bytes, and leaves them in the input.
func (in *input) ahead(n int) ([]byte, error) {
	b, err := in.data(n)
	if err == nil {
		in.r -= n
	}
	return b, err
}
