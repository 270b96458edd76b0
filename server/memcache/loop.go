package memcache

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// A loop waits for events of its connections and runs those that have some, one after the
// other. There is one goroutine that is the loop, at any time. When a connection that it runs
// must wait, for the rest of a request or for a client that does not read, the goroutine stays
// with this connection, and a new one is the loop: see turn. So connections are written as if
// each had its goroutine, and most need none.
//
// The loop has an epoll of its own. That of Go would wake up for each answer that a client has
// read from a unix socket, and it would wake another thread for each event.
type loop struct {
	s     *Server
	epoll int
	end   int // an eventfd that ends the loop
}

// eventsAtOnce is how many events a loop takes from the kernel together.
const eventsAtOnce = 64

// A turn is the goroutine that is the loop, running one connection.
type turn struct {
	l     *loop
	rest  []unix.EpollEvent // events that are still to be looked at
	given bool              // another goroutine is the loop now
}

func newLoop(s *Server) (*loop, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memcache: making an epoll: %w", err)
	}
	end, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err == nil {
		err = unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, end, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(end)})
	}
	if err != nil {
		_ = unix.Close(epoll)
		return nil, fmt.Errorf("memcache: making an eventfd: %w", err)
	}
	return &loop{s, epoll, end}, nil
}

// run is the loop. It looks at the events first that are given.
func (l *loop) run(first []unix.EpollEvent) {
	var events [eventsAtOnce]unix.EpollEvent
	t := turn{l: l, rest: events[:copy(events[:], first)]}
	for {
		for len(t.rest) > 0 {
			e := t.rest[0]
			t.rest = t.rest[1:]
			if int(e.Fd) == l.end {
				l.close()
				return
			}
			if c := l.s.files.at(int(e.Fd)); c != nil && c.claim() {
				c.quick = e.Events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) == 0
				c.turn = &t
				c.run()
				if t.given {
					return
				}
			}
		}
		n, err := unix.EpollWait(l.epoll, events[:], -1)
		if err != nil && err != unix.EINTR {
			l.s.log.Error("waiting for connections", "error", err)
			l.close()
			return
		}
		t.rest = events[:max(n, 0)]
	}
}

// give makes another goroutine the loop, unless that was done. The caller may wait from now on.
func (t *turn) give() {
	if t != nil && !t.given {
		t.given = true
		go t.l.run(append([]unix.EpollEvent(nil), t.rest...))
	}
}

// watch lets the loop wait for events of a connection: for bytes that arrive, and while it has
// answers that the socket does not take, for room too. An event is told once.
func (l *loop) watch(c *conn, op int, room bool) error {
	e := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLET, Fd: int32(c.fd)}
	if room {
		e.Events |= unix.EPOLLOUT
	}
	if err := unix.EpollCtl(l.epoll, op, c.fd, &e); err != nil {
		return fmt.Errorf("memcache: waiting for a connection: %w", err)
	}
	return nil
}

// stop ends the loop, once it has nothing to run.
func (l *loop) stop() { _, _ = unix.Write(l.end, []byte{1, 0, 0, 0, 0, 0, 0, 0}) }

func (l *loop) close() {
	_ = unix.Close(l.epoll)
	_ = unix.Close(l.end)
}
