package memcache

import (
	"fmt"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// A loop waits for events of its connections and runs those that have some, one after the
// other. There is one goroutine that is the loop, at any time. When a connection that it runs
// must wait, for the rest of a request or for a client that does not read, the goroutine stays
// with this connection, and another one is the loop: see turn. So connections are written as if
// each had its goroutine, and most need none.
//
// The loop has an epoll of its own. That of Go would wake up for each answer that a client has
// read from a unix socket, and it would wake another thread for each event.
type loop struct {
	s      *Server
	epoll  int
	end    int           // an eventfd that ends the loop
	baton  chan events   // makes a spare goroutine the loop
	ended  chan struct{} // closed when the loop has ended
	spares atomic.Int32  // goroutines that have been the loop and wait to be it again
}

// events are some of the kernel's.
type events struct {
	all  [eventsAtOnce]unix.EpollEvent
	i, n int // all[i:n] are still to be looked at
}

const (
	// eventsAtOnce is how many events a loop takes from the kernel together.
	eventsAtOnce = 64
	// maxSpares is how many goroutines wait to be the loop.
	maxSpares = 16
)

// A turn is a goroutine that is the loop, or was until it gave that away.
type turn struct {
	l      *loop
	events events
	given  bool // another goroutine is the loop now
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
	return &loop{s: s, epoll: epoll, end: end, baton: make(chan events), ended: make(chan struct{})}, nil
}

// run is the loop. It looks at the events first that are given.
func (l *loop) run(first events) {
	t := turn{l: l, events: first}
	for {
		for e := &t.events; e.i < e.n; {
			one := e.all[e.i]
			e.i++
			if int(one.Fd) == l.end {
				l.close()
				return
			}
			if c := l.s.files.at(int(one.Fd)); c != nil && c.claim() {
				c.quick = one.Events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) == 0
				c.turn = &t
				c.run()
				if t.given && !t.wait() {
					return
				}
			}
		}
		n, err := unix.EpollWait(l.epoll, t.events.all[:], -1)
		if err != nil && err != unix.EINTR {
			l.s.log.Error("waiting for connections", "error", err)
			l.close()
			return
		}
		t.events.i, t.events.n = 0, max(n, 0)
	}
}

// give makes another goroutine the loop, unless that was done. The caller may wait from now on.
func (t *turn) give() {
	if t == nil || t.given {
		return
	}
	t.given = true
	select {
	case t.l.baton <- t.events:
	default:
		go t.l.run(t.events)
	}
}

// wait waits until the goroutine is the loop again. If there are others enough that wait for
// it, or the loop has ended, it returns false.
func (t *turn) wait() bool {
	l := t.l
	if l.spares.Add(1) > maxSpares {
		l.spares.Add(-1)
		return false
	}
	defer l.spares.Add(-1)
	select {
	case t.events = <-l.baton:
		t.given = false
		return true
	case <-l.ended:
		return false
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
	close(l.ended)
	_ = unix.Close(l.epoll)
	_ = unix.Close(l.end)
}
