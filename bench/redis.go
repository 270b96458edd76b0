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
	"strconv"
	"syscall"
	"time"
)

const redisName = "redis"

func buildRedis(ctx context.Context, dir string) (peer, error) {
	if _, err := exec.LookPath("redis-server"); err != nil {
		return peer{}, fmt.Errorf("%w (on Debian: apt-get install redis-server)", err)
	}
	return buildGo(redisName, peer{alone: true, fleeting: true})(ctx, dir)
}

// A redis is a Redis server in a process of its own, on a unix socket. It writes nothing to a disk.
type redis struct {
	cmd *exec.Cmd
	dir string
}

func startRedis(dir string) (*redis, error) {
	r := &redis{dir: filepath.Join(dir, redisName)}
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return nil, err
	}
	r.cmd = exec.Command("redis-server", "--port", "0", "--unixsocket", r.socket(), "--save", "", "--appendonly", "no", "--daemonize", "no", "--dir", r.dir)
	r.cmd.Stderr = os.Stderr
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL} // in case this process is killed
	if err := r.cmd.Start(); err != nil {
		return nil, err
	}
	if err := waitForSocket(r.socket()); err != nil {
		r.remove()
		return nil, err
	}
	return r, nil
}

func (r *redis) socket() string { return filepath.Join(r.dir, "socket") }

// remove kills the server and removes its files.
func (r *redis) remove() {
	r.cmd.Process.Kill()
	r.cmd.Wait() // returns an error because it was killed
	os.RemoveAll(r.dir)
}

// A redisConn is a connection that speaks Redis's protocol.
type redisConn struct {
	net.Conn
	r      *bufio.Reader
	w      *bufio.Writer
	number []byte
}

func (r *redis) dial() (*redisConn, error) {
	c, err := net.Dial("unix", r.socket())
	if err != nil {
		return nil, err
	}
	return &redisConn{Conn: c, r: bufio.NewReaderSize(c, 1<<16), w: bufio.NewWriterSize(c, 1<<16)}, c.SetDeadline(time.Now().Add(10 * time.Minute))
}

// send buffers a command.
func (c *redisConn) send(words ...[]byte) {
	c.length('*', len(words))
	for _, w := range words {
		c.length('$', len(w))
		c.w.Write(w)
		c.w.WriteString("\r\n")
	}
}

func (c *redisConn) length(kind byte, n int) {
	c.number = strconv.AppendInt(append(c.number[:0], kind), int64(n), 10)
	c.w.Write(append(c.number, "\r\n"...))
}

// answer reads an answer: a string, or an array of strings, each of which visit gets.
func (c *redisConn) answer(visit func(s []byte) error) error {
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return err
	}
	line = bytes.TrimSpace(line)
	if len(line) == 0 || line[0] != '$' && line[0] != '*' {
		return fmt.Errorf("found the answer %q, expected a string or an array", line)
	}
	n, err := strconv.Atoi(string(line[1:]))
	if err != nil || n < 0 {
		return fmt.Errorf("found the answer %q, expected a length", line)
	}
	if line[0] == '*' {
		for range n {
			if err := c.answer(visit); err != nil {
				return err
			}
		}
		return nil
	}
	s, err := c.r.Peek(n + len("\r\n"))
	if err != nil {
		return err
	}
	if err := visit(s[:n]); err != nil {
		return err
	}
	_, err = c.r.Discard(len(s))
	return err
}

// increments sends commands that add 1 to counters, without waiting, and then reads all answers.
func (c *redisConn) increments(keys [][]byte) error {
	for _, key := range keys {
		c.send([]byte("ZINCRBY"), []byte("pages"), []byte("1"), key)
	}
	if err := c.w.Flush(); err != nil {
		return err
	}
	for range keys {
		if err := c.answer(func([]byte) error { return nil }); err != nil {
			return err
		}
	}
	return nil
}

// top asks for the counters from offset on, and checks their number and order.
func (c *redisConn) top(offset, length int) error {
	c.send([]byte("ZREVRANGE"), []byte("pages"), strconv.AppendInt(nil, int64(offset), 10), strconv.AppendInt(nil, int64(offset+length-1), 10), []byte("WITHSCORES"))
	if err := c.w.Flush(); err != nil {
		return err
	}
	words, last := 0, int64(1<<62)
	err := c.answer(func(s []byte) error {
		words++
		if words%2 == 1 {
			return nil
		}
		n, err := strconv.ParseInt(string(s), 10, 64)
		if err == nil && n > last {
			err = errors.New("found counts that ascend, expected that they descend")
		}
		last = n
		return err
	})
	if err == nil && words != 2*length {
		err = fmt.Errorf("%w: found %d words in an answer, expected %d", io.ErrUnexpectedEOF, words, 2*length)
	}
	return err
}
