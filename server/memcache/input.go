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
	c    *conn
	buf  []byte // nil while the connection is idle
	r, w int    // buf[r:w] has arrived

	try func(fd uintptr) bool // tryRead, made once
	n   int                   // result of tryRead
	err error
}

const (
	maxLine    = 2048
	maxGetLine = 64 << 10
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
	seen := 0 // bytes without an end of line
	for {
		if i := bytes.IndexByte(in.buf[in.r+seen:in.w], '\n'); i >= 0 {
			line := in.buf[in.r : in.r+seen+i]
			in.r += seen + i + 1
			if n := len(line); n > 0 && line[n-1] == '\r' {
				line = line[:n-1]
			}
			return line, nil
		}
		seen = in.w - in.r
		if seen > maxLine && (seen > maxGetLine || !mayBeLong(in.buf[in.r:in.w])) {
			return nil, errLine
		}
		if err := in.fill(seen + 1); err != nil {
			return nil, err
		}
	}
}

// mayBeLong reports whether a line that begins so may have more than maxLine bytes.
func mayBeLong(line []byte) bool {
	return bytes.HasPrefix(line, []byte("get ")) || bytes.HasPrefix(line, []byte("gets ")) ||
		bytes.HasPrefix(line, []byte("gat ")) || bytes.HasPrefix(line, []byte("gats "))
}

// data returns the next n bytes.
func (in *input) data(n int) ([]byte, error) {
	for in.w-in.r < n {
		if err := in.fill(n); err != nil {
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
		if err := in.fill(1); err != nil {
			return err
		}
	}
}

// fill waits for bytes and reads them behind those that there are. It makes room for need
// bytes in all, but not much more than has arrived.
func (in *input) fill(need int) error {
	if err := in.c.flush(); err != nil {
		return err
	}
	if in.r == in.w {
		in.r, in.w = 0, 0
	}
	if in.buf != nil {
		in.makeRoom(need)
	}
	if in.c.raw == nil {
		if in.buf == nil {
			in.c.begin()
		}
		in.n, in.err = in.c.nc.Read(in.buf[in.w:])
	} else if err := in.c.raw.Read(in.try); err != nil {
		return err
	}
	if in.n > 0 {
		in.w += in.n
		return nil
	}
	if in.err == nil {
		return io.EOF
	}
	return in.err
}

// makeRoom makes room behind the bytes that have arrived.
func (in *input) makeRoom(need int) {
	have := in.w - in.r
	if len(in.buf)-in.r >= need && in.w < len(in.buf) {
		return
	}
	to := in.buf
	if have+1 > len(in.buf)/2 && need > len(in.buf) {
		to = make([]byte, min(2*len(in.buf), need+inputBytes))
	}
	copy(to, in.buf[in.r:in.w])
	in.buf, in.r, in.w = to, 0, have
}

// tryRead reads what there is. Without anything it returns false, and a connection that is
// idle waits without buffers.
func (in *input) tryRead(fd uintptr) bool {
	if in.buf == nil {
		in.c.begin()
	}
	for {
		in.n, in.err = syscall.Read(int(fd), in.buf[in.w:])
		switch in.err {
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			if in.r == in.w {
				in.c.rest()
			}
			return false
		}
		return true
	}
}
