package memcache

// text executes a command of the text protocol, whose line was read.
func (c *conn) text(line []byte) error {
	if err := c.flushFull(); err != nil {
		return err
	}
	args := c.split(line)
	if len(args) < 1 || len(args[0]) < 2 {
		return c.sayAlways("ERROR")
	}
	switch string(args[0]) {
	case "get":
		return c.get(args, line, false)
	case "gets":
		return c.get(args, line, true)
	case "set":
		return c.store(args, verbSet)
	case "version":
		return c.say("VERSION " + Version)
	case "quit":
		return errClose
	}
	return c.say("ERROR")
}

// Version is the version of memcached whose answers the server gives.
const Version = "1.6.18"

// split returns the words of a line, at most maxTokens-1.
func (c *conn) split(line []byte) [][]byte {
	n, from := 0, 0
	for i := 0; i <= len(line) && n < maxTokens-1; i++ {
		if i < len(line) && line[i] != ' ' {
			continue
		}
		if i > from {
			c.work.tokens[n] = line[from:i]
			n++
		}
		from = i + 1
	}
	return c.work.tokens[:n]
}
