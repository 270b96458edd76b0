package memcache

import (
	"bytes"
	"encoding/binary"
)

// binaryFlush empties the cache, now or at a time to come.
func (c *conn) binaryFlush(p *packet, extras []byte) {
	if c.srv.opts.NoFlush {
		c.refuse(p, statusRefused)
		return
	}
	exptime := uint32(0)
	if len(extras) > 0 {
		exptime = binary.BigEndian.Uint32(extras)
	}
	if err := c.srv.flushAll(int64(exptime)); err != nil {
		c.broken(p, err, "Out of memory flushing")
		return
	}
	c.counts.add(cmdFlush, 1)
	c.done(p, 0)
}

// binaryVerbosity sets the level of verbosity.
func (c *conn) binaryVerbosity(p *packet, level uint32) {
	c.srv.setVerbosity(level)
	c.done(p, 0)
}

// binaryStat answers with the statistics of a group: a packet for each line, with the name as
// its key, and one without a key at the end. As in memcached reset, settings and detail may be
// followed by anything.
func (c *conn) binaryStat(p *packet, group []byte) {
	s := c.srv
	switch {
	case bytes.HasPrefix(group, []byte("reset")):
		s.ResetStats()
	case bytes.HasPrefix(group, []byte("settings")):
		s.Stats("settings", func(name, value string) { c.stat(p, name, value) })
	case bytes.HasPrefix(group, []byte("detail dump")):
		c.stat(p, "detailed", string(s.detail.appendTo(nil)))
	case bytes.HasPrefix(group, []byte("detail on")), bytes.HasPrefix(group, []byte("detail off")):
		s.detail.on.Store(bytes.HasPrefix(group, []byte("detail on")))
	default:
		name := string(group)
		switch name {
		case "sizes_enable", "sizes_disable":
			name = "sizes" // which nothing counts
		case "conns":
			c.refuse(p, statusNotFound)
			return
		}
		if !s.Stats(name, func(name, value string) { c.stat(p, name, value) }) {
			c.refuse(p, statusNotFound)
			return
		}
	}
	c.stat(p, "", "")
}

// stat appends a line of statistics.
func (c *conn) stat(p *packet, name, value string) {
	c.header(p, statusOK, len(name), 0, len(name)+len(value), 0)
	c.out = append(append(c.out, name...), value...)
}
