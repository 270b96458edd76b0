package memcache

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// outputLimit is how many bytes of answers are gathered before they are written.
const outputLimit = 64 << 10

// An output has the memory of the answers of a connection.
type output struct {
	block *block // the memory of conn.out, if work has too little; nil else
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
	if c.output.block == nil && cap(c.out) <= 2*outputLimit {
		c.work.out = c.out[:0] // it has grown, or is what it was
	}
	c.releaseOut()
	c.out = c.work.out[:0]
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
	waits := false
	for {
		if c.dead.Load() {
			return errClose
		}
		n, err := syscall.Write(c.fd, b)
		if n > 0 {
			b = b[n:]
			if waits {
				c.last.Store(c.srv.seconds.Load())
			}
		}
		switch {
		case len(b) == 0:
			if waits {
				return c.loop.watch(c, unix.EPOLL_CTL_MOD, false)
			}
			return nil
		case err == nil || err == syscall.EINTR:
			continue
		case err != syscall.EAGAIN:
			return err
		}
		if !waits {
			waits = true
			c.last.Store(c.srv.seconds.Load())
			if err := c.loop.watch(c, unix.EPOLL_CTL_MOD, true); err != nil {
				return err
			}
			continue // there may be room by now
		}
		if err := c.block(stateWrites); err != nil {
			return err
		}
		if c.isKicked() {
			c.dead.Store(true) // it must not wait again
			return errClose
		}
	}
}
