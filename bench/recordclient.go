package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/seed-869cc763/shmkv/shm/record"
)

// A recordUser is a client of records: a session of this process, or a connection with a server.
type recordUser interface {
	load(id record.ID) error
	loadMany(ids []record.ID) error
	newIDs(dst []record.ID, n int) ([]record.ID, error)
	commit(records []record.Record) error
}

// A recordSession is a session of this process.
type recordSession struct {
	s      *record.Session
	packed []byte
}

func (u *recordSession) load(id record.ID) (err error) {
	u.packed, err = u.s.Append(u.packed[:0], id)
	return err
}

func (u *recordSession) loadMany(ids []record.ID) error {
	for _, id := range ids {
		if err := u.load(id); err != nil {
			return err
		}
	}
	return nil
}

func (u *recordSession) newIDs(dst []record.ID, n int) ([]record.ID, error) {
	return u.s.NewIDs(dst, n)
}

func (u *recordSession) commit(records []record.Record) error {
	c := u.s.Begin()
	for _, r := range records {
		if err := c.Store(r); err != nil {
			return err
		}
	}
	return c.End()
}

// A recordConn is a connection with a server of Durus's protocol. It sends what a client of Durus sends.
type recordConn struct {
	nc  net.Conn
	r   *bufio.Reader
	out []byte
	in  []byte
}

func dialRecords(network, address string) (*recordConn, error) {
	nc, err := net.Dial(network, address)
	if err != nil {
		return nil, err
	}
	c := &recordConn{nc: nc, r: bufio.NewReaderSize(nc, 64<<10)}
	b, err := c.ask([]byte{'V', 0, 0, 0, 1}, 4)
	if err == nil && string(b) != "\x00\x00\x00\x01" {
		err = fmt.Errorf("found version %x of the protocol, expected 1", b)
	}
	if err != nil {
		return nil, errors.Join(err, nc.Close())
	}
	return c, nil
}

// read reads n bytes, which are valid until the next call.
func (c *recordConn) read(n int) ([]byte, error) {
	if cap(c.in) < n {
		c.in = make([]byte, n)
	}
	c.in = c.in[:n]
	_, err := io.ReadFull(c.r, c.in)
	return c.in, err
}

func (c *recordConn) ask(request []byte, n int) ([]byte, error) {
	if _, err := c.nc.Write(request); err != nil {
		return nil, err
	}
	return c.read(n)
}

func (c *recordConn) number() (int, error) {
	b, err := c.read(4)
	if err != nil {
		return 0, err
	}
	return int(binary.BigEndian.Uint32(b)), nil
}

func (c *recordConn) expect(status byte) error {
	b, err := c.read(1)
	if err == nil && b[0] != status {
		err = fmt.Errorf("found the status %q, expected %q", b[0], status)
	}
	return err
}

func (c *recordConn) answer(id record.ID) error {
	if err := c.expect('O'); err != nil {
		return err
	}
	n, err := c.number()
	if err != nil {
		return err
	}
	b, err := c.read(n)
	if err == nil && record.ID(binary.BigEndian.Uint64(b)) != id {
		err = fmt.Errorf("found the record %x, expected %x", b[:8], id)
	}
	return err
}

func (c *recordConn) load(id record.ID) error {
	c.out = binary.BigEndian.AppendUint64(append(c.out[:0], 'L'), uint64(id))
	if _, err := c.nc.Write(c.out); err != nil {
		return err
	}
	return c.answer(id)
}

func (c *recordConn) loadMany(ids []record.ID) error {
	c.out = binary.BigEndian.AppendUint32(append(c.out[:0], 'B'), uint32(len(ids)))
	for _, id := range ids {
		c.out = binary.BigEndian.AppendUint64(c.out, uint64(id))
	}
	if _, err := c.nc.Write(c.out); err != nil {
		return err
	}
	for _, id := range ids {
		if err := c.answer(id); err != nil {
			return err
		}
	}
	return nil
}

func (c *recordConn) newIDs(dst []record.ID, n int) ([]record.ID, error) {
	b, err := c.ask([]byte{'M', byte(n)}, 8*n)
	for ; err == nil && len(b) > 0; b = b[8:] {
		dst = append(dst, record.ID(binary.BigEndian.Uint64(b)))
	}
	return dst, err
}

func (c *recordConn) commit(records []record.Record) error {
	b, err := c.ask([]byte{'C'}, 4)
	if err != nil {
		return err
	}
	if n := int(binary.BigEndian.Uint32(b)); n > 0 {
		if _, err := c.read(8 * n); err != nil {
			return err
		}
	}
	c.out = append(c.out[:0], 0, 0, 0, 0)
	for _, r := range records {
		c.out = binary.BigEndian.AppendUint32(c.out, uint32(8+12+len(r.Data)+8*len(r.Refs)))
		c.out = binary.BigEndian.AppendUint64(c.out, uint64(r.ID))
		c.out = r.Append(c.out)
	}
	binary.BigEndian.PutUint32(c.out, uint32(len(c.out)-4))
	if _, err := c.nc.Write(c.out); err != nil {
		return err
	}
	return c.expect('O')
}

func (c *recordConn) pack() error {
	if _, err := c.nc.Write([]byte{'P'}); err != nil {
		return err
	}
	return c.expect('O')
}
