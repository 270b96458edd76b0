package memcache

import (
	"io"
	"syscall"
)

// outputLimit is how many bytes of answers are gathered before they are written.
const outputLimit = 64 << 10

// An output writes the answers of a connection.
type output struct {
	c     *conn
	block *block                // the memory of conn.out, if work has too little; nil else
	rest  []byte                // what is still to be written
	try   func(fd uintptr) bool // tryWrite, made once
	err   error                 // of tryWrite
}

// room makes room for n more bytes in the output.
func (c *conn) room(n int) {
	need := len(c.out) + n
	if need <= cap(c.out) {
		return
	}
	b := takeBlock(need)
	out := append(b.bytes[:0], c.out...)
	c.releaseOut()
	c.out, c.output.block = out, b
}

// releaseOut gives a block that the output is in back.
func (c *conn) releaseOut() {
	giveBlock(c.output.block)
	c.output.block = nil
}

// say appends a line to the output, unless the request wants no answer.
func (c *conn) say(line string) error {
	if !c.noreply {
		c.out = append(append(c.out, line...), "\r\n"...)
	}
	return nil
}

// sayAlways is say for errors that a client must know also if it wants no answer.
func (c *conn) sayAlways(line string) error {
	c.noreply = false
	return c.say(line)
}

// flush writes the output. It returns after the client's side has taken it.
func (c *conn) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	n := len(c.out)
	if err := c.write(c.out); err != nil {
		return err
	}
	c.counts.add(bytesWritten, n)
	c.out = c.out[:0]
	if c.output.block != nil {
		c.releaseOut()
		c.out = c.work.out[:0]
	}
	return nil
}

// flushFull is flush if the output is large.
func (c *conn) flushFull() error {
	if len(c.out) < outputLimit {
		return nil
	}
	return c.flush()
}

// write writes b, and waits until that is done.
func (c *conn) write(b []byte) error {
	if c.raw == nil {
		_, err := c.nc.Write(b)
		return err
	}
	o := &c.output
	o.rest = b
	if err := c.raw.Write(o.try); err != nil {
		return err
	}
	o.rest = nil
	return o.err
}

// tryWrite writes what the socket takes. It returns false if that is not all.
func (o *output) tryWrite(fd uintptr) bool {
	for {
		n, err := syscall.Write(int(fd), o.rest)
		if n > 0 {
			o.rest = o.rest[n:]
		}
		switch {
		case len(o.rest) == 0:
			o.err = nil
		case err == syscall.EINTR || err == nil && n > 0:
			continue
		case err == syscall.EAGAIN:
			o.c.state.Store(uint32(stateWrites))
			return false
		case err == nil:
			o.err = io.ErrUnexpectedEOF
		default:
			o.err = err
		}
		return true
	}
}
