package countclient

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/seed-869cc763/shmkv/server/count/wire"
)

// A Count is a counter and its count.
type Count struct {
	Key []byte
	N   int64
}

// A Reader is a connection for rows.
type Reader struct {
	conn   net.Conn
	layout wire.Layout
	r      *bufio.Reader
	m      []byte
}

// DialReader connects with the port for reads of a server. The network is tcp or unix.
func DialReader(network, address string, opts *Options) (*Reader, error) {
	c, err := net.Dial(network, address)
	if err != nil {
		return nil, err
	}
	return NewReader(c, opts), nil
}

// NewReader returns a Reader over an open connection, which it closes.
func NewReader(c net.Conn, opts *Options) *Reader {
	return &Reader{conn: c, layout: opts.layout(), r: bufio.NewReaderSize(c, 64<<10)}
}

// Range returns up to length counters from the offset-th on, by descending counts and then by
// the bytes of their keys, all of one version. The keys are the caller's own. After an error the
// connection must be closed.
func (r *Reader) Range(keyspace []byte, offset, length uint64) ([]Count, error) {
	all, err := r.ask(keyspace, offset, length)
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: the server has refused the request, or was stopped", io.ErrUnexpectedEOF)
	}
	if err != nil {
		return nil, fmt.Errorf("countclient: asking for counters: %w", err)
	}
	return all, nil
}

func (r *Reader) ask(keyspace []byte, offset, length uint64) ([]Count, error) {
	var err error
	if r.m, err = r.layout.AppendRequest(r.m[:0], keyspace, offset, length); err != nil {
		return nil, err
	}
	if _, err := r.conn.Write(r.m); err != nil {
		return nil, err
	}
	var number [wire.NumberSize]byte
	if _, err := io.ReadFull(r.r, number[:]); err != nil {
		return nil, err
	}
	rows := binary.LittleEndian.Uint64(number[:])
	if rows > length {
		return nil, fmt.Errorf("found an answer of %d rows, expected at most %d", rows, length)
	}
	var all []Count
	row := make([]byte, r.layout.RowSize())
	for range rows {
		if _, err := io.ReadFull(r.r, row); err != nil {
			return nil, err
		}
		n, key := r.layout.Row(row)
		all = append(all, Count{bytes.Clone(key), n})
	}
	return all, nil
}

// Close closes the connection.
func (r *Reader) Close() error { return r.conn.Close() }
