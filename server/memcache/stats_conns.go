package memcache

import (
	"cmp"
	"net"
	"slices"
	"strconv"
	"syscall"
)

// connStats has lines for each listener and connection, by the numbers of their files.
func (s *Server) connStats(add stat) {
	type line struct {
		fd          int
		addr, local string // no local: a listener
		state       string
		idle        int64
	}
	var lines []line
	now := s.seconds.Load()
	s.mu.Lock()
	for l := range s.listeners {
		lines = append(lines, line{fd: fileOf(l), addr: nameOf(l.Addr()), state: "conn_listening", idle: now})
	}
	for c := range s.conns {
		lines = append(lines, line{c.fd, nameOf(c.remote), nameOf(c.local), connStates[c.stateNow()], now - c.last.Load()})
	}
	s.mu.Unlock()
	slices.SortFunc(lines, func(a, b line) int { return cmp.Compare(a.fd, b.fd) })
	for _, l := range lines {
		name := strconv.Itoa(l.fd) + ":"
		add(name+"addr", l.addr)
		if l.local != "" {
			add(name+"listen_addr", l.local)
		}
		add(name+"state", l.state)
		add(name+"secs_since_last_cmd", strconv.FormatInt(l.idle, 10))
	}
}

// fileOf returns the number of the file of a listener, or -1.
func fileOf(l net.Listener) int {
	file := -1
	if sc, ok := l.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) { file = int(fd) })
		}
	}
	return file
}

// nameOf returns an address as memcached writes it. The client's end of a unix socket has none.
func nameOf(a net.Addr) string {
	switch a := a.(type) {
	case *net.TCPAddr:
		if a.IP.To4() != nil || len(a.IP) == 0 {
			return "tcp:" + a.IP.String() + ":" + strconv.Itoa(a.Port)
		}
		return "tcp6:[" + a.IP.String() + "]:" + strconv.Itoa(a.Port)
	case *net.UnixAddr:
		if a.Name == "" || a.Name == "@" {
			return "unix:<AF 1>"
		}
		return "unix:" + a.Name
	case nil:
		return "unix:<AF 1>"
	}
	return a.Network() + ":" + a.String()
}
