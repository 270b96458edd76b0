package memcache

// meta answers a command line of the meta protocol.
func (c *conn) meta(line []byte) error { return c.say("ERROR") }
