package durus

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/record"
)

// protocolVersion is the one that V answers with.
const protocolVersion = 1

// The statuses of answers.
const (
	statusOK       = 'O'
	statusMissing  = 'K'
	statusConflict = 'I'
)

const (
	idSize     = 8
	bufferSize = 16 << 10
	// keptBytes is the most that a buffer for records keeps between commands, and what a commit or a B may have
	// beyond Options.MaxArriving.
	keptBytes = 64 << 10
)

// A conn is a connection with its session.
type conn struct {
	srv     *Server
	nc      net.Conn
	r       *bufio.Reader
	w       *bufio.Writer
	session *record.Session
	buffer  []byte // of a record or of ids
}

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{srv: s, nc: nc}
	c.r, c.w = bufio.NewReaderSize(nc, bufferSize), bufio.NewWriterSize(nc, bufferSize)
	return c
}

// run serves the connection until it ends.
func (c *conn) run() {
	defer c.nc.Close()
	session, err := c.srv.storage.Session()
	if err == nil {
		c.session = session
		session.OnLagged(func() { c.nc.Close() })
		err = c.serve()
		err = errors.Join(err, c.w.Flush(), session.Close())
	}
	if err != nil && !c.srv.closing.Load() {
		c.srv.log.Warn("a connection was closed", "client", c.nc.RemoteAddr().String(), "err", err)
	}
}

// serve executes commands. It returns nil when the client has closed the connection between two.
func (c *conn) serve() error {
	for {
		if c.r.Buffered() == 0 {
			if err := c.w.Flush(); err != nil {
				return err
			}
			if c.srv.closing.Load() {
				return nil
			}
		}
		command, err := c.r.ReadByte()
		if err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if command == 'Q' {
			c.srv.quit()
			return nil
		}
		if command == '.' { // a client of Durus says so that it closes the connection
			return nil
		}
		if err := c.execute(command); err != nil {
			return fmt.Errorf("command %q: %w", command, err)
		}
	}
}

func (c *conn) execute(command byte) error {
	switch command {
	case 'V':
		return c.version()
	case 'N':
		return c.newIDs(1)
	case 'M':
		n, err := c.r.ReadByte()
		if err != nil {
			return err
		}
		return c.newIDs(int(n))
	case 'L':
		id, err := c.readID()
		if err != nil {
			return err
		}
		return c.load(id)
	case 'B':
		return c.bulkLoad()
	case 'S':
		return c.sync()
	case 'C':
		return c.commit()
	case 'P':
		c.srv.pack()
		return c.w.WriteByte(statusOK)
	}
	return errors.New("found an unknown command, expected one of V, N, M, L, B, S, C, P, Q")
}

func (c *conn) readNumber() (uint32, error) {
	var b [4]byte
	_, err := io.ReadFull(c.r, b[:])
	return binary.BigEndian.Uint32(b[:]), err
}

func (c *conn) writeNumber(n uint32) error {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], n)
	_, err := c.w.Write(b[:])
	return err
}

func (c *conn) readID() (record.ID, error) {
	var b [idSize]byte
	_, err := io.ReadFull(c.r, b[:])
	return record.ID(binary.BigEndian.Uint64(b[:])), err
}

func (c *conn) writeIDs(ids []record.ID) error {
	for _, id := range ids {
		var b [idSize]byte
		binary.BigEndian.PutUint64(b[:], uint64(id))
		if _, err := c.w.Write(b[:]); err != nil {
			return err
		}
	}
	return nil
}

func (c *conn) version() error {
	n, err := c.readNumber()
	if err != nil {
		return err
	}
	if err := c.writeNumber(protocolVersion); err != nil {
		return err
	}
	if n != protocolVersion {
		return fmt.Errorf("found version %d of the protocol, expected %d", n, protocolVersion)
	}
	return nil
}

func (c *conn) newIDs(n int) error {
	ids, err := c.session.NewIDs(nil, n)
	if err != nil {
		return err
	}
	return c.writeIDs(ids)
}

// load answers with a record. The session is not used while the answer is written.
func (c *conn) load(id record.ID) (err error) {
	c.srv.counts.loads.Add(1)
	c.buffer, err = c.session.Append(c.buffer[:0], id)
	switch {
	case errors.Is(err, record.ErrConflict):
		return c.w.WriteByte(statusConflict)
	case errors.Is(err, shm.ErrNotFound):
		return c.w.WriteByte(statusMissing)
	case err != nil:
		return err
	}
	if err := c.w.WriteByte(statusOK); err != nil {
		return err
	}
	if err := c.writeNumber(uint32(len(c.buffer))); err != nil {
		return err
	}
	_, err = c.w.Write(c.buffer)
	if cap(c.buffer) > keptBytes {
		c.buffer = nil
	}
	return err
}

// readBytes reads n bytes of r. Memory for them is taken as they arrive.
func readBytes(r io.Reader, n int64) ([]byte, error) {
	var b bytes.Buffer
	got, err := b.ReadFrom(io.LimitReader(r, n))
	if err == nil && got < n {
		err = fmt.Errorf("found the end after %d bytes, expected %d: %w", got, n, io.ErrUnexpectedEOF)
	}
	return b.Bytes(), err
}

// bulkLoad reads all ids before it answers: a client of Durus sends all of them first.
func (c *conn) bulkLoad() error {
	n, err := c.readNumber()
	if err != nil {
		return err
	}
	if int64(n) > int64(c.srv.opts.MaxLoad) {
		return fmt.Errorf("found %d ids, expected at most %d", n, c.srv.opts.MaxLoad)
	}
	a := arriving{c: c}
	defer a.end()
	ids, err := readBytes(&a, int64(n)*idSize)
	for ; err == nil && len(ids) > 0; ids = ids[idSize:] {
		err = c.load(record.ID(binary.BigEndian.Uint64(ids)))
	}
	return err
}

func (c *conn) sync() error {
	ids, err := c.session.Sync()
	if err != nil {
		return err
	}
	if err := c.writeNumber(uint32(len(ids))); err != nil {
		return err
	}
	return c.writeIDs(ids)
}

// commit tells what has changed, and then reads a commit and makes it.
func (c *conn) commit() error {
	if err := c.sync(); err != nil {
		return err
	}
	if err := c.w.Flush(); err != nil {
		return err
	}
	n, err := c.readNumber()
	if err != nil || n == 0 {
		return err
	}
	if int64(n) > c.srv.opts.MaxCommit {
		return fmt.Errorf("found a commit of %d bytes, expected at most %d", n, c.srv.opts.MaxCommit)
	}
	a := arriving{c: c}
	defer a.end()
	entries, err := readBytes(&a, int64(n))
	if err != nil {
		return err
	}
	made := c.session.Begin()
	if err := parseCommit(entries, made.Store); err != nil {
		return err
	}
	switch err := made.End(); {
	case errors.Is(err, record.ErrConflict):
		c.srv.counts.conflicts.Add(1)
		return c.w.WriteByte(statusConflict)
	case err != nil:
		return err
	}
	c.srv.counts.commits.Add(1)
	return c.w.WriteByte(statusOK)
}

// arriving reads a commit, or the ids of B, and counts the bytes among those of all connections, until end.
type arriving struct {
	c *conn
	n int64
}

func (a *arriving) Read(b []byte) (int, error) {
	n, err := a.c.r.Read(b)
	a.n += int64(n)
	all, most := a.c.srv.arrived.Add(int64(n)), a.c.srv.opts.MaxArriving
	if all > most && a.n > keptBytes {
		return n, fmt.Errorf("found %d bytes of all clients that have arrived and were not answered yet, expected at most %d", all, most)
	}
	return n, err
}

func (a *arriving) end() { a.c.srv.arrived.Add(-a.n) }

// parseCommit calls store for each record of a commit. The records are parts of entries.
func parseCommit(entries []byte, store func(record.Record) error) error {
	for at := 0; at < len(entries); {
		rest := entries[at:]
		if len(rest) < 4+idSize {
			return fmt.Errorf("commit: found %d bytes at %d, expected an entry of at least %d", len(rest), at, 4+idSize)
		}
		n := int64(binary.BigEndian.Uint32(rest))
		if n < idSize || n > int64(len(rest)-4) {
			return fmt.Errorf("commit: found an entry of %d bytes at %d, expected at least %d and at most the %d that are left", n, at, idSize, len(rest)-4)
		}
		entry := rest[4 : 4+n]
		r, err := record.Parse(entry[idSize:])
		if err != nil {
			return fmt.Errorf("commit: entry at %d: %w", at, err)
		}
		if id := record.ID(binary.BigEndian.Uint64(entry)); id != r.ID {
			return fmt.Errorf("commit: found a record of id %d in the entry at %d, expected %d, which is the entry's", r.ID, at, id)
		}
		if err := store(r); err != nil {
			return err
		}
		at += 4 + int(n)
	}
	return nil
}
