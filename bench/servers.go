package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const memcachedName = "memcached"

// A server is a server in a process of its own: that of the store, or memcached.
type server struct {
	peer    peer
	program string
	args    []string
	network string // unix or tcp
	address string
	dir     string // of its socket, and of the store
	inside  bool   // its load has the cache open, and needs no server
	cmd     *exec.Cmd
}

// servedPeers returns the peers that have a server, with the store first.
func (b *bench) servedPeers() []peer {
	return slices.DeleteFunc(slices.Clone(b.peers), func(p peer) bool { return p.name != storeName && p.name != memcachedName })
}

// buildShmctl builds the program that has the store's server, unless a flag names one.
func (b *bench) buildShmctl(ctx context.Context) (string, error) {
	if b.shmctl != "" {
		return b.shmctl, nil
	}
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/seed-869cc763/shmkv").Output()
	if err != nil {
		return "", fmt.Errorf("looking for the source of shmctl (-shmctl names a program): %w", err)
	}
	program := filepath.Join(b.dir, "shmctl")
	build := exec.CommandContext(ctx, "go", "build", "-o", program, "./cmd/shmctl")
	build.Dir = strings.TrimSpace(string(root))
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building shmctl: %w: %s", err, bytes.TrimSpace(out))
	}
	b.shmctl = program
	return program, nil
}

func megabytes(n int64) string { return strconv.FormatInt((n+1<<20-1)>>20, 10) }

// startServer starts the server of a peer with its default number of threads. The caller must remove it.
func (b *bench) startServer(ctx context.Context, p peer, t task, network string, args ...string) (*server, error) {
	s := &server{peer: p, program: memcachedName, network: network, dir: filepath.Join(b.dir, p.name+"-server")}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, err
	}
	switch network {
	case "unix":
		s.address = filepath.Join(s.dir, "socket")
		s.args = []string{"-s", s.address}
	default:
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		s.address = net.JoinHostPort("127.0.0.1", port)
		s.args = []string{"-l", "127.0.0.1", "-p", port, "-U", "0"}
	}
	s.args = append(s.args, args...)
	if p.name == storeName {
		program, err := b.buildShmctl(ctx)
		if err != nil {
			return nil, err
		}
		s.program, s.args = program, append([]string{"serve", "memcached", "--store", s.store()}, s.args...)
	} else if os.Getuid() == 0 {
		s.args = append(s.args, "-u", "root") // it refuses to run as root without this flag
	}
	if err := s.start(ctx); err != nil {
		return nil, err
	}
	c, err := s.dial()
	if err != nil {
		s.remove()
		return nil, err
	}
	return s, c.Close()
}

func (s *server) store() string { return filepath.Join(s.dir, "store") }

// freePort returns a port that nobody listens on.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, errors.Join(err, l.Close())
}

// start starts the process, and does not wait for it to listen.
func (s *server) start(ctx context.Context) error {
	s.cmd = exec.CommandContext(ctx, s.program, s.args...)
	s.cmd.Stderr = os.Stderr
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL} // in case this process is killed
	return s.cmd.Start()
}

func (s *server) kill() {
	s.cmd.Process.Kill()
	s.cmd.Wait() // returns an error because it was killed
}

// remove kills the server and removes its files.
func (s *server) remove() {
	s.kill()
	os.RemoveAll(s.dir)
}

// dial connects to the server, once it listens.
func (s *server) dial() (net.Conn, error) {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(100 * time.Microsecond) {
		c, err := net.Dial(s.network, s.address)
		if err == nil {
			return c, c.SetDeadline(time.Now().Add(time.Minute))
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("no server came up: %w", err)
		}
	}
}

// startFilled starts all servers, sets all keys of a task, and leaves them alone for a while. Call stop even after an
// error.
func (b *bench) startFilled(ctx context.Context, t task, network string) (servers []*server, stop func(), err error) {
	stop = func() {
		for _, s := range servers {
			s.remove()
		}
	}
	for _, p := range b.servedPeers() {
		s, err := b.startServer(ctx, p, t, network, "-m", megabytes(roomy(t)))
		if err != nil {
			return servers, stop, err
		}
		servers = append(servers, s)
		if err := s.fill(t); err != nil {
			return servers, stop, err
		}
	}
	time.Sleep(time.Duration(b.quiet * float64(time.Second))) // the store makes huge pages meanwhile
	return servers, stop, nil
}

// fill sets all keys of a task.
func (s *server) fill(t task) error {
	c, err := s.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	out := bufio.NewWriterSize(c, 1<<16)
	value := make([]byte, t.value)
	var request []byte
	for i := range uint64(t.n) {
		putValue(value, i, 0)
		request = appendSet(request[:0], i, value, " noreply")
		if _, err := out.Write(request); err != nil {
			return err
		}
	}
	io.WriteString(out, "version\r\n")
	if err := out.Flush(); err != nil {
		return err
	}
	if err := expectLine(bufio.NewReader(c), "VERSION "); err != nil {
		return err
	}
	items, err := s.items()
	if err == nil && items != t.n {
		err = fmt.Errorf("found %d items, expected %d", items, t.n)
	}
	return err
}

// expectLine reads a line, which must begin with prefix.
func expectLine(in *bufio.Reader, prefix string) error {
	line, err := in.ReadString('\n')
	if err == nil && !strings.HasPrefix(line, prefix) {
		err = fmt.Errorf("found the answer %q, expected %q", line, prefix)
	}
	return err
}

// items returns the number of items that the server has.
func (s *server) items() (int, error) {
	c, err := s.dial()
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if _, err := io.WriteString(c, "stats\r\n"); err != nil {
		return 0, err
	}
	for lines := bufio.NewScanner(c); lines.Scan() && lines.Text() != "END"; {
		if n, ok := strings.CutPrefix(lines.Text(), "STAT curr_items "); ok {
			return strconv.Atoi(n)
		}
	}
	return 0, errors.New("found no curr_items among the counters of the server")
}

// askUntilAnswered gets the first key of a task, as soon as the server listens.
func (s *server) askUntilAnswered(t task) error {
	c, err := s.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write(append(appendTextKey([]byte("get "), 0), "\r\n"...)); err != nil {
		return err
	}
	in := bufio.NewReader(c)
	first, err := in.ReadString('\n')
	if err != nil || first == "END\r\n" {
		return err
	}
	head := string(appendHead(nil, 0, t.value))
	if first != head {
		return fmt.Errorf("found the answer %q, expected %q", first, head)
	}
	return nil
}

// processorTime returns the CPU time of the server's threads.
func (s *server) processorTime() (sum int64, err error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", s.cmd.Process.Pid))
	for _, file := range files {
		first, _, _ := strings.Cut(firstLine(file), " ")
		if nanos, err := strconv.ParseInt(first, 10, 64); err == nil { // else the thread has ended
			sum += nanos
		}
	}
	return sum, err
}

// memory returns the bytes of the server's memory that is not of files.
func (s *server) memory() (int64, error) {
	file := fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid)
	status, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if text, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(text), "kB")), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("%s: found no RssAnon", file)
}

// load executes a task of clients of the server. The CPU time of the result is that of the server.
func (s *server) load(ctx context.Context, t task) (r result, err error) {
	t.path, t.capacity = s.network+":"+s.address, roomy(t)
	if s.inside {
		t.path = "inside:" + s.store()
	}
	c, err := start(ctx, s.peer, t)
	if err != nil {
		return r, err
	}
	defer c.end()
	before, err := s.processorTime()
	if err != nil {
		return r, err
	}
	c.release()
	if r, err = c.waitWhole(); err != nil {
		return r, err
	}
	after, err := s.processorTime()
	r.CPUNanos = after - before
	return r, err
}
