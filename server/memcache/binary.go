package memcache

// binary executes the request of the binary protocol that is next in the input.
func (c *conn) binary() error { return errClose }
