package memcache

import (
	"fmt"
	"net"
	"strconv"

	"github.com/seed-869cc763/shmkv/shm/cache"
)

// get tells that an item was asked for.
func (w *watchers) get(c *conn, key []byte, hit bool, size int) {
	status := "not_found"
	if hit {
		status = "found"
	}
	w.tell(c.counts, watchFetchers, func(line []byte) []byte {
		line = appendEncoded(append(line, "type=item_get key="...), key)
		return fmt.Appendf(line, " status=%s clsid=%d cfd=%d size=%d", status, index(hit), c.fd, size)
	})
}

// store tells how a request to store an item ended.
func (w *watchers) store(c *conn, key []byte, v verb, o outcome, exptime int64, size int) {
	ttl := int64(0)
	if exptime != 0 {
		ttl = c.srv.remaining(c.srv.expiry(exptime))
	}
	w.tell(c.counts, watchMutations, func(line []byte) []byte {
		line = appendEncoded(append(line, "type=item_store key="...), key)
		return fmt.Appendf(line, " status=%s cmd=%s ttl=%d clsid=1 cfd=%d size=%d", outcomes[o], verbs[v], ttl, c.fd, size)
	})
}

// evicted tells that the cache has evicted an item.
func (s *Server) evicted(key []byte, it cache.Item) {
	if !s.watchers.want(watchEvictions) {
		return // no longer
	}
	ago, read := s.lastUse(key)
	s.watchers.tell(&s.counts[0], watchEvictions, func(line []byte) []byte {
		line = appendEncoded(append(line, "type=eviction key="...), key)
		return fmt.Appendf(line, " fetch=%s ttl=%d la=%d clsid=%s size=%d", yes(read), s.remaining(it.Expires), ago, onlyClass, len(it.Value))
	})
}

// opened tells of a new connection.
func (w *watchers) opened(c *conn) {
	w.tell(c.counts, watchConns, func(line []byte) []byte {
		host, port, transport := c.peer()
		return fmt.Appendf(line, "type=conn_new rip=%s rport=%s transport=%s cfd=%d", host, port, transport, c.fd)
	})
}

// ended tells of the end of a connection.
func (w *watchers) ended(c *conn) {
	w.tell(c.counts, watchConns, func(line []byte) []byte {
		host, port, transport := c.peer()
		return fmt.Appendf(line, "type=conn_close rip=%s rport=%s transport=%s reason=%s cfd=%d", host, port, transport, closeReasons[c.reason], c.fd)
	})
}

// peer returns the address of the client.
func (c *conn) peer() (host, port, transport string) {
	if a, ok := c.remote.(*net.TCPAddr); ok {
		return a.IP.String(), strconv.Itoa(a.Port), "tcp"
	}
	return "unix", "0", "local"
}

// appendEncoded appends a key as in an address of the web.
func appendEncoded(dst, key []byte) []byte {
	const digits = "0123456789ABCDEF"
	for _, b := range key {
		switch {
		case b >= 'a' && b <= 'z', b >= 'A' && b <= 'Z', b >= '0' && b <= '9', b == '-', b == '.', b == '_', b == '~':
			dst = append(dst, b)
		default:
			dst = append(dst, '%', digits[b>>4], digits[b&15])
		}
	}
	return dst
}
