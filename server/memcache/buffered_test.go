//go:build !race

package memcache

// buffered returns how many bytes the buffers of the connections in a state have.
func buffered(s *Server, in connState) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		if c.stateNow() == in {
			n += cap(c.out) + len(c.in.buf)
		}
	}
	return n
}
