package main

import (
	"bufio"
	"encoding/binary"
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

// serveMemcached runs a server on a socket in the task's directory until the gate opens.
func serveMemcached(t task, gate func() error) error {
	if err := os.Mkdir(t.path, 0o700); err != nil {
		return err
	}
	args := []string{
		"-s", memcachedSocket(t), "-m", strconv.FormatInt(t.capacity>>20, 10),
		"-I", fmt.Sprintf("%dm", 1+(t.value+4096)>>20), // in whole MiB, which it halves
	}
	if os.Getuid() == 0 {
		args = append(args, "-u", "root") // it refuses to run as root without this flag
	}
	cmd := exec.Command("memcached", args...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // in case this process is killed first
	if err := cmd.Start(); err != nil {
		return err
	}
	err := waitForSocket(memcachedSocket(t))
	if err == nil {
		err = gate()
	}
	cmd.Process.Kill()
	cmd.Wait() // returns an error because it was killed
	return err
}

func memcachedSocket(t task) string { return filepath.Join(t.path, "socket") }

func waitForSocket(path string) error {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		c, err := net.Dial("unix", path)
		if err == nil {
			return c.Close()
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("no server came up: %w", err)
		}
	}
}

// A memcachedTable is a connection to a server. It uses memcached's binary protocol, in which keys may be any bytes.
type memcachedTable struct {
	conn   net.Conn
	in     *bufio.Reader
	out    *bufio.Writer
	header [24]byte
	body   []byte
}

// The operations of the protocol that are used here. A quiet get is answered only if it finds the key, and a quiet set
// only if it fails. The answer to a following no-op shows that all are done.
const (
	opGet      = 0x00
	opSet      = 0x01
	opDelete   = 0x04
	opGetQuiet = 0x09
	opNoop     = 0x0a
	opSetQuiet = 0x11

	statusAbsent = 0x01
	statusFull   = 0x82
)

func openMemcached(t task) (table, error) {
	if t.workers > 1 || t.writers > 0 {
		return nil, errUnsupported // one connection handles one request after the other
	}
	conn, err := net.Dial("unix", memcachedSocket(t))
	if err != nil {
		return nil, err
	}
	return &memcachedTable{conn: conn, in: bufio.NewReaderSize(conn, 1<<16), out: bufio.NewWriterSize(conn, 1<<16)}, nil
}

// send queues a request. A flush returns the errors.
func (m *memcachedTable) send(op byte, opaque int, extras, key, value []byte) {
	h := m.header[:]
	clear(h)
	h[0], h[1], h[4] = 0x80, op, byte(len(extras))
	binary.BigEndian.PutUint16(h[2:], uint16(len(key)))
	binary.BigEndian.PutUint32(h[8:], uint32(len(extras)+len(key)+len(value)))
	binary.BigEndian.PutUint32(h[12:], uint32(opaque))
	m.out.Write(h)
	m.out.Write(extras)
	m.out.Write(key)
	m.out.Write(value)
}

// receive returns the next answer. Its value is valid until the next call.
func (m *memcachedTable) receive() (op byte, opaque int, value []byte, err error) {
	h := m.header[:]
	if _, err := io.ReadFull(m.in, h); err != nil {
		return 0, 0, nil, err
	}
	size := int(binary.BigEndian.Uint32(h[8:]))
	if cap(m.body) < size {
		m.body = make([]byte, size)
	}
	m.body = m.body[:size]
	if _, err := io.ReadFull(m.in, m.body); err != nil {
		return 0, 0, nil, err
	}
	extras := int(h[4]) + int(binary.BigEndian.Uint16(h[2:]))
	if h[0] != 0x81 || extras > size {
		return 0, 0, nil, fmt.Errorf("not an answer of memcached: %x", h)
	}
	switch status := binary.BigEndian.Uint16(h[6:]); status {
	case 0:
	case statusAbsent:
		err = errAbsent
	case statusFull:
		err = errFull
	default:
		err = fmt.Errorf("memcached: status %#x: %s", status, m.body)
	}
	return h[1], int(binary.BigEndian.Uint32(h[12:])), m.body[extras:], err
}

// ask sends one request and returns the answer to it.
func (m *memcachedTable) ask(op byte, extras, key, value []byte) ([]byte, error) {
	m.send(op, 0, extras, key, value)
	if err := m.out.Flush(); err != nil {
		return nil, err
	}
	_, _, answer, err := m.receive()
	return answer, err
}

// finish sends a no-op after quiet requests and takes their answers up to that of the no-op.
func (m *memcachedTable) finish(each func(j int, value []byte) error) error {
	m.send(opNoop, 0, nil, nil, nil)
	errs := m.out.Flush()
	for errs == nil {
		op, j, value, err := m.receive()
		if op == opNoop || err != nil {
			return err
		}
		errs = each(j, value)
	}
	return errs
}

func (m *memcachedTable) read(dst, key []byte) ([]byte, error) {
	value, err := m.ask(opGet, nil, key, nil)
	if err != nil {
		return dst, err
	}
	return append(dst, value...), nil
}

var noFlags [8]byte // and no expiry

func (m *memcachedTable) write(key, value []byte) error {
	_, err := m.ask(opSet, noFlags[:], key, value)
	return err
}

func (m *memcachedTable) remove(key []byte) error {
	_, err := m.ask(opDelete, nil, key, nil)
	return err
}

// readMany sends all requests before it takes the first answer.
func (m *memcachedTable) readMany(keys [][]byte, each func(j int, value []byte) error) error {
	for j, key := range keys {
		m.send(opGetQuiet, j, nil, key, nil)
	}
	found := 0
	err := m.finish(func(j int, value []byte) error {
		found++
		return each(j, value)
	})
	if err == nil && found < len(keys) {
		err = errAbsent
	}
	return err
}

// writeMany sends all requests before it waits for answers. They are not a transaction.
func (m *memcachedTable) writeMany(n int, entry func(j int) (key, value []byte)) error {
	for j := range n {
		key, value := entry(j)
		m.send(opSetQuiet, j, noFlags[:], key, value)
	}
	return m.finish(func(int, []byte) error { return errors.New("memcached: an answer to a quiet set") })
}

func (m *memcachedTable) close() error { return m.conn.Close() }
