// Package countclient is a client for the counters that package count serves. An Adder sends
// increments, and a Reader asks for rows; they need connections of their own. One goroutine uses
// each at a time.
//
//	a, err := countclient.DialAdder("tcp", "localhost:48879", nil)
//	err = a.Add([]byte("pages"), []byte("/index"), 1)
package countclient

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/seed-869cc763/shmkv/server/count/wire"
)

// Options are those of the server. The zero value of each field is its default, and so are nil
// options.
type Options struct {
	KeyspaceBytes int // length of keyspaces in messages; 0 means 256
	KeyBytes      int // length of keys in messages; 0 means 256
}

func (o *Options) layout() wire.Layout {
	if o == nil {
		o = &Options{}
	}
	return wire.Layout{Keyspace: cmp.Or(o.KeyspaceBytes, wire.DefaultName), Key: cmp.Or(o.KeyBytes, wire.DefaultName)}
}

// An Adder is a connection for increments.
type Adder struct {
	conn   net.Conn
	layout wire.Layout
	w      *bufio.Writer
	r      *bufio.Reader
	m      []byte
	sent   int // without an answer yet
}

// mostSent is how many increments an Adder sends ahead of their answers, so that it finds out soon
// that the server has refused one.
const mostSent = 4096

// DialAdder connects with the port for increments of a server. The network is tcp or unix.
func DialAdder(network, address string, opts *Options) (*Adder, error) {
	c, err := net.Dial(network, address)
	if err != nil {
		return nil, err
	}
	return NewAdder(c, opts), nil
}

// NewAdder returns an Adder over an open connection, which it closes.
func NewAdder(c net.Conn, opts *Options) *Adder {
	return &Adder{conn: c, layout: opts.layout(), w: bufio.NewWriterSize(c, 64<<10), r: bufio.NewReaderSize(c, 16<<10)}
}

// Add adds n to a counter, and returns when that was committed. After an error it may have been
// or not.
func (a *Adder) Add(keyspace, key []byte, n int64) error {
	if err := a.Send(keyspace, key, n); err != nil {
		return err
	}
	return a.Flush()
}

// Send sends an increment without waiting for its answer, or keeps it to send it with the next
// ones. A name that a message cannot have is an error, and nothing is sent then.
func (a *Adder) Send(keyspace, key []byte, n int64) (err error) {
	if a.m, err = a.layout.AppendIncrement(a.m[:0], n, keyspace, key); err != nil {
		return fmt.Errorf("countclient: sending an increment: %w", err)
	}
	if a.sent >= mostSent {
		if err := a.flushTo(mostSent / 2); err != nil {
			return err
		}
	}
	if _, err := a.w.Write(a.m); err != nil {
		return fmt.Errorf("countclient: sending an increment: %w", err)
	}
	a.sent++
	return nil
}

// Flush sends what was not sent yet, and returns when all increments were committed. After an
// error, Unanswered increments may have been committed or not.
func (a *Adder) Flush() error { return a.flushTo(0) }

// Unanswered returns the number of increments whose answers have not been read.
func (a *Adder) Unanswered() int { return a.sent }

// flushTo sends what was not sent yet, and reads answers until this many are missing.
func (a *Adder) flushTo(missing int) error {
	if err := a.w.Flush(); err != nil {
		return fmt.Errorf("countclient: sending increments: %w", err)
	}
	var answer [len(wire.Win)]byte
	for a.sent > missing {
		if _, err := io.ReadFull(a.r, answer[:]); err != nil {
			if errors.Is(err, io.EOF) {
				err = fmt.Errorf("%w: the server has refused the first of %d increments that are not answered, or was stopped", io.ErrUnexpectedEOF, a.sent)
			}
			return fmt.Errorf("countclient: reading answers: %w", err)
		}
		if string(answer[:]) != wire.Win {
			return fmt.Errorf("countclient: reading answers: found %q, expected %q", answer, wire.Win)
		}
		a.sent--
	}
	return nil
}

// Close closes the connection. It does not flush.
func (a *Adder) Close() error { return a.conn.Close() }
