package main

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"

	"github.com/seed-869cc763/shmkv/shm/cache"
)

// isServerWork reports whether a work of a child is that of the clients of a server.
func isServerWork(work string) bool { return strings.HasPrefix(work, serverWork+"-") }

// runLoad executes a task of clients. Its path is a network and an address, or "inside" and the path of a store.
func runLoad(t task, gate func() error) (result, error) {
	network, address, _ := strings.Cut(t.path, ":")
	if network == "inside" {
		return runInside(t, address, gate)
	}
	l := &load{task: t, keys: sequence{seed: t.seed, n: uint64(t.n)}, value: make([]byte, t.value), latencies: newHistogram()}
	l.answer = l.answerBytes()
	defer l.close()
	for range t.workers {
		if err := l.connect(network, address); err != nil {
			return result{}, err
		}
	}
	if err := gate(); err != nil {
		return result{}, err
	}
	return l.run()
}

// A load is the clients of a server. One thread has all connections. It sends the next request of a connection when
// the last one was answered, and allocates nothing meanwhile.
type load struct {
	task
	keys      sequence
	next      uint64 // of keys
	value     []byte
	conns     []loadConn
	answer    int // bytes of an answer
	epoll     int
	latencies *hdrhistogram.Histogram
}

// A loadConn is a connection, which blocks.
type loadConn struct {
	fd      int
	first   uint64 // key of the request
	request []byte
	answer  []byte
	have    int // bytes of the answer that have arrived
	began   time.Time
}

// answerTimeout is the longest time to wait for an answer.
const answerTimeout = 20 * time.Second

// The text of requests and answers. Keys are keyBytes digits, as memcached's text protocol needs.

func appendTextKey(to []byte, i uint64) []byte {
	var word [8]byte
	binary.BigEndian.PutUint64(word[:], splitmix64(i))
	return hex.AppendEncode(to, word[:])
}

func appendSet(to []byte, i uint64, value []byte, end string) []byte {
	to = appendTextKey(append(to, "set "...), i)
	to = append(strconv.AppendInt(append(to, " 0 0 "...), int64(len(value)), 10), end...)
	return append(append(append(to, "\r\n"...), value...), "\r\n"...)
}

// appendHead appends the line before a value.
func appendHead(to []byte, i uint64, size int) []byte {
	to = appendTextKey(append(to, "VALUE "...), i)
	return append(strconv.AppendInt(append(to, " 0 "...), int64(size), 10), "\r\n"...)
}

const (
	stored = "STORED\r\n"
	endOf  = "END\r\n"
)

// answerBytes returns the length of the answer to a request whose keys are all there.
func (l *load) answerBytes() int {
	item := len(appendHead(nil, 0, l.task.value)) + l.task.value + len("\r\n")
	switch l.work {
	case "server-set":
		return l.batch * len(stored)
	case "server-many":
		return l.batch*item + len(endOf)
	}
	return l.batch * (item + len(endOf))
}

func (l *load) connect(network, address string) error {
	fd, to, err := newSocket(network, address)
	if err != nil {
		return err
	}
	l.conns = append(l.conns, loadConn{fd: fd, answer: make([]byte, l.answer)})
	return connect(fd, to)
}

// newSocket returns a socket that blocks, and the address to connect it to.
func newSocket(network, address string) (fd int, to unix.Sockaddr, err error) {
	domain := unix.AF_UNIX
	to = &unix.SockaddrUnix{Name: address}
	if network == "tcp" {
		a, err := net.ResolveTCPAddr("tcp4", address)
		if err != nil {
			return -1, nil, err
		}
		in := &unix.SockaddrInet4{Port: a.Port}
		copy(in.Addr[:], a.IP.To4())
		domain, to = unix.AF_INET, in
	}
	fd, err = unix.Socket(domain, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, nil, fmt.Errorf("socket: %w", err)
	}
	if network == "tcp" {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	}
	wait := unix.NsecToTimeval(answerTimeout.Nanoseconds())
	return fd, to, errors.Join(err, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait))
}

func connect(fd int, to unix.Sockaddr) error {
	for {
		err := unix.Connect(fd, to)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("connect: %w", err)
		}
		return nil
	}
}

func (l *load) close() {
	for _, c := range l.conns {
		unix.Close(c.fd)
	}
}

// run sends requests until the time is over, and waits for the answers to all.
func (l *load) run() (r result, err error) {
	var events []unix.EpollEvent
	if len(l.conns) > 1 {
		if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
			return r, err
		}
		defer unix.Close(l.epoll)
		events = make([]unix.EpollEvent, len(l.conns))
		for i := range l.conns {
			e := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)}
			if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, l.conns[i].fd, &e); err != nil {
				return r, err
			}
		}
	}
	start := time.Now()
	end := start.Add(time.Duration(l.seconds * float64(time.Second)))
	for i := range l.conns {
		if err := l.send(&l.conns[i], start); err != nil {
			return r, err
		}
	}
	now := start
	for waiting := len(l.conns); waiting > 0; {
		n := 1
		if events != nil {
			n, err = unix.EpollWait(l.epoll, events, int(answerTimeout.Milliseconds()))
			if err == syscall.EINTR {
				continue
			}
			if err == nil && n == 0 {
				err = fmt.Errorf("found no answer within %v", answerTimeout)
			}
			if err != nil {
				return r, err
			}
		}
		for i := range n {
			c := &l.conns[0]
			if events != nil {
				c = &l.conns[events[i].Fd]
			}
			whole, err := l.receive(c)
			if err != nil {
				return r, err
			}
			if !whole {
				continue
			}
			now = time.Now()
			if err := l.latencies.RecordValue(now.Sub(c.began).Nanoseconds()); err != nil {
				return r, err
			}
			r.Ops += l.batch
			if now.After(end) {
				waiting--
				continue
			}
			if err := l.send(c, now); err != nil {
				return r, err
			}
		}
	}
	r.Nanos, r.Sum, r.Latencies = now.Sub(start).Nanoseconds(), l.keys.sum, pairsOf(l.latencies)
	return r, nil
}

func (l *load) draw() uint64 {
	l.next++
	return l.keys.draw(l.next)
}

// send sends the next request of a connection.
func (l *load) send(c *loadConn, now time.Time) error {
	c.request, c.have, c.began = c.request[:0], 0, now
	if l.work == "server-many" {
		c.request = append(c.request, "get"...)
	}
	for i := range l.batch {
		k := l.draw()
		if i == 0 {
			c.first = k
		}
		switch l.work {
		case "server-set":
			putValue(l.value, k, l.next)
			c.request = appendSet(c.request, k, l.value, "")
		case "server-many":
			c.request = appendTextKey(append(c.request, ' '), k)
		default:
			c.request = append(appendTextKey(append(c.request, "get "...), k), "\r\n"...)
		}
	}
	if l.work == "server-many" {
		c.request = append(c.request, "\r\n"...)
	}
	for rest := c.request; len(rest) > 0; {
		n, err := unix.Write(c.fd, rest)
		if err != nil && err != syscall.EINTR {
			return fmt.Errorf("writing to the server: %w", err)
		}
		rest = rest[max(n, 0):]
	}
	return nil
}

// receive reads from a connection once, and reports whether its answer is whole. It checks the first and the last
// line, and the value of the first key.
func (l *load) receive(c *loadConn) (whole bool, err error) {
	n, err := unix.Read(c.fd, c.answer[c.have:])
	switch {
	case err == syscall.EINTR:
		return false, nil
	case err != nil:
		return false, fmt.Errorf("reading from the server: %w", err)
	case n == 0:
		return false, fmt.Errorf("reading from the server: %w", io.ErrUnexpectedEOF)
	}
	c.have += n
	first, last := byte('V'), endOf
	if l.work == "server-set" {
		first, last = 'S', stored
	}
	if c.answer[0] != first {
		return false, fmt.Errorf("found the answer %.60q to %.60q", c.answer[:c.have], c.request)
	}
	if c.have < len(c.answer) {
		return false, nil
	}
	if !bytes.HasSuffix(c.answer, []byte(last)) {
		return false, fmt.Errorf("found an answer that ends with %q, expected %q", c.answer[len(c.answer)-len(last):], last)
	}
	if l.work == "server-set" {
		return true, nil
	}
	_, value, _ := bytes.Cut(c.answer, []byte("\r\n"))
	return true, checkValue(value[:l.task.value], c.first, l.task.value)
}

// runInside executes a task without a server, on its cache.
func runInside(t task, path string, gate func() error) (r result, err error) {
	c, err := cache.Open(path, &cache.Options{Bytes: t.capacity})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	keys := sequence{seed: t.seed, n: uint64(t.n)}
	var key, value []byte
	get := func(i uint64) (err error) {
		k := keys.draw(i)
		key = appendTextKey(key[:0], k)
		if value, err = c.Append(value[:0], key); err != nil {
			return err
		}
		return checkValue(value, k, t.value)
	}
	op := get
	if t.work == "server-set" {
		value = make([]byte, t.value)
		op = func(i uint64) error {
			k := keys.draw(i)
			key = appendTextKey(key[:0], k)
			putValue(value, k, i)
			return c.Set(key, value, -1)
		}
	}
	if err := gate(); err != nil {
		return r, err
	}
	r, err = t.loop(1, op)
	r.Sum = keys.sum
	return r, err
}
