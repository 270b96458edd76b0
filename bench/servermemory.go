package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	titleBound = "server, -m 64: MiB of memory without files, at most"
	titleStuck = "server, 20 clients that never read: MiB of memory"

	stuckClients = 20
	largeValue   = 100 << 10
)

func titleIdle(conns int) string {
	return fmt.Sprintf("server, %d idle connections: bytes of memory each", conns)
}

// measureIdle measures how much memory of a server each of many idle connections takes. Each has made a get.
func measureIdle(ctx context.Context, b *bench, t task) error {
	conns, title := b.idleConnections, titleIdle(b.idleConnections)
	if err := allowFiles(conns + 100); err != nil {
		return err
	}
	for _, p := range b.servedPeers() {
		s, err := b.startServer(ctx, p, t, "unix", "-m", "64", "-c", strconv.Itoa(conns+100))
		if err != nil {
			return err
		}
		err = s.whileConnected(conns, func(before, after int64) {
			b.report.add(title, t.n, count, p, float64(after-before)/float64(conns))
		})
		s.remove()
		if err != nil {
			return err
		}
	}
	b.report.aim(title, t.n, goal{AtMost: 6 << 10})
	return nil
}

// whileConnected tells the memory of a server before there are connections, and while they are idle.
func (s *server) whileConnected(conns int, found func(before, after int64)) error {
	var fds []int
	defer func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	}()
	request, answer := append(appendTextKey([]byte("get "), 0), "\r\n"...), make([]byte, len(endOf))
	open := func() error {
		fd, to, err := newSocket(s.network, s.address)
		if err != nil {
			return err
		}
		fds = append(fds, fd)
		if err := connect(fd, to); err != nil {
			return err
		}
		if _, err := unix.Write(fd, request); err != nil {
			return err
		}
		for {
			n, err := unix.Read(fd, answer)
			if err == syscall.EINTR {
				continue
			}
			if err != nil || string(answer[:n]) != endOf {
				return fmt.Errorf("found the answer %q (%v), expected %q", answer[:max(n, 0)], err, endOf)
			}
			return nil
		}
	}
	if err := open(); err != nil { // whatever the first one makes the server do is not counted
		return err
	}
	before, err := s.memory()
	if err != nil {
		return err
	}
	for range conns {
		if err := open(); err != nil {
			return err
		}
	}
	time.Sleep(settle)
	after, err := s.memory()
	if err == nil {
		found(before, after)
	}
	return err
}

// allowFiles lets this process, and those that it starts, have so many files open.
func allowFiles(n int) error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	if limit.Cur >= uint64(n) {
		return nil
	}
	limit.Cur, limit.Max = uint64(n), max(limit.Max, uint64(n))
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("found that %d open files are not allowed, which so many connections need: %w", n, err)
	}
	return nil
}

// measureServerMemory measures the memory of a server without its files: while ten times its bound is written, and
// with clients that ask and do not read.
func measureServerMemory(ctx context.Context, b *bench, t task) error {
	const mib = 1 << 20
	for _, p := range b.servedPeers() {
		s, err := b.startServer(ctx, p, t, "unix", "-m", "64")
		if err != nil {
			return err
		}
		most, err := s.memoryWhileWritten(b.serverWrites)
		if err == nil {
			b.report.add(titleBound, t.n, count, p, float64(most)/mib)
			var grown int64
			if grown, err = s.memoryOfStuck(); err == nil {
				b.report.add(titleStuck, t.n, count, p, float64(grown)/mib)
			}
		}
		s.remove()
		if err != nil {
			return err
		}
	}
	b.report.aim(titleBound, t.n, goal{AtMost: 96})
	b.report.aim(titleStuck, t.n, goal{AtMost: 32})
	return nil
}

// memoryWhileWritten returns the most memory while so many bytes are set, in values of all sizes up to 20 KiB.
func (s *server) memoryWhileWritten(bytes int64) (most int64, err error) {
	c, err := s.dial()
	if err != nil {
		return 0, err
	}
	defer c.Close()
	in := bufio.NewReader(c)
	const mostValue = 20 << 10
	value := make([]byte, mostValue)
	var request []byte
	step := max(bytes/64, 1)
	for i, next := uint64(0), step; bytes > 0; i++ {
		size := minValueBytes + int(splitmix64(i)%(mostValue-minValueBytes))
		request = appendSet(request[:0], i, value[:size], " noreply")
		bytes -= int64(size)
		if next -= int64(size); next <= 0 || bytes <= 0 {
			next = step
			request = append(request, "version\r\n"...)
			if _, err := c.Write(request); err != nil {
				return 0, err
			}
			if err := expectLine(in, "VERSION "); err != nil {
				return 0, err
			}
			now, err := s.memory()
			if err != nil {
				return 0, err
			}
			most = max(most, now)
			continue
		}
		if _, err := c.Write(request); err != nil {
			return 0, err
		}
	}
	return most, nil
}

// memoryOfStuck returns how much more memory the server has with clients that send gets of a large value, as long as
// the server takes them, and read nothing.
func (s *server) memoryOfStuck() (int64, error) {
	c, err := s.dial()
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if _, err := c.Write(appendSet(nil, 0, make([]byte, largeValue), "")); err != nil {
		return 0, err
	}
	if err := expectLine(bufio.NewReader(c), "STORED"); err != nil {
		return 0, err
	}
	before, err := s.memory()
	if err != nil {
		return 0, err
	}
	var clients []io.Closer
	defer func() {
		for _, c := range clients {
			c.Close()
		}
	}()
	var gets []byte
	for range 1000 {
		gets = append(appendTextKey(append(gets, "get "...), 0), "\r\n"...)
	}
	for range stuckClients {
		c, err := s.dial()
		if err != nil {
			return 0, err
		}
		clients = append(clients, c)
		for range 100 {
			c.SetWriteDeadline(time.Now().Add(settle))
			if _, err := c.Write(gets); err != nil {
				var timeout interface{ Timeout() bool }
				if errors.As(err, &timeout) && timeout.Timeout() {
					break
				}
				if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
					return 0, fmt.Errorf("the server has closed the connection of a client that does not read: %w", err)
				}
				return 0, err
			}
		}
	}
	after, err := s.memory()
	return after - before, err
}
