package memcache

// outputLimit is how many bytes of answers are gathered before they are written.
const outputLimit = 64 << 10

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
	_, err := c.nc.Write(c.out)
	c.out = c.out[:0]
	return err
}

// flushFull is flush if the output is large.
func (c *conn) flushFull() error {
	if len(c.out) < outputLimit {
		return nil
	}
	return c.flush()
}
