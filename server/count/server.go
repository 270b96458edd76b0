package count

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/seed-869cc763/shmkv/server/count/wire"
	"github.com/seed-869cc763/shmkv/server/internal/accept"
	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/counter"
)

// ErrServerClosed: Shutdown was called.
var ErrServerClosed = errors.New("count: server closed")

// Options say what a server serves. The zero value of each field but Store is its default.
type Options struct {
	Store *shm.Store // whose counters are served; it must stay open until Shutdown has returned

	KeyspaceBytes int // length of keyspaces in messages; 0 means 256
	KeyBytes      int // length of keys in messages; 0 means 256

	MaxConns int           // connections at one time; 0 means 4096
	Patience time.Duration // within which a client must take 64 KiB of an answer that needs a snapshot, and close a connection that the server ends; 0 means 5 s
	Rate     int           // bytes a second that a client must take of such an answer, from its beginning, with Patience on top; 0 means 1 MiB

	Log *slog.Logger // nil means silence
}

// Limits of Options.
const (
	MaxKeyspaceBytes = counter.MaxKeyspace
	MaxKeyBytes      = counter.MaxKey
)

// A Server serves the counters of a store.
type Server struct {
	opts    Options
	layout  wire.Layout
	log     *slog.Logger
	folder  *folder
	streams chan struct{} // a token for each large answer under way
	counts  counts

	mu        sync.Mutex
	closing   bool
	listeners map[net.Listener]struct{}
	conns     map[*conn]struct{}
	ended     sync.WaitGroup // of connections
}

// mostStreams is how many answers with a snapshot are under way at most.
const mostStreams = 16

// New returns a server. Shutdown must follow, which ends its goroutine.
func New(opts *Options) (*Server, error) {
	o := *opts
	o.KeyspaceBytes = cmp.Or(o.KeyspaceBytes, wire.DefaultName)
	o.KeyBytes = cmp.Or(o.KeyBytes, wire.DefaultName)
	o.MaxConns = cmp.Or(o.MaxConns, 4096)
	o.Patience = cmp.Or(o.Patience, 5*time.Second)
	o.Rate = cmp.Or(o.Rate, 1<<20)
	o.Log = cmp.Or(o.Log, slog.New(slog.DiscardHandler))
	switch {
	case o.Store == nil:
		return nil, errors.New("count: found no Options.Store, expected a store")
	case o.KeyspaceBytes < 1 || o.KeyspaceBytes > MaxKeyspaceBytes:
		return nil, fmt.Errorf("count: Options.KeyspaceBytes is %d, expected a number from 1 to %d", o.KeyspaceBytes, MaxKeyspaceBytes)
	case o.KeyBytes < 1 || o.KeyBytes > MaxKeyBytes:
		return nil, fmt.Errorf("count: Options.KeyBytes is %d, expected a number from 1 to %d", o.KeyBytes, MaxKeyBytes)
	case o.MaxConns < 1 || o.Patience < 0 || o.Rate < 1:
		return nil, fmt.Errorf("count: Options.MaxConns is %d, Patience %v and Rate %d, expected positive ones", o.MaxConns, o.Patience, o.Rate)
	}
	s := &Server{
		opts: o, log: o.Log, layout: wire.Layout{Keyspace: o.KeyspaceBytes, Key: o.KeyBytes}, streams: make(chan struct{}, mostStreams),
		listeners: map[net.Listener]struct{}{}, conns: map[*conn]struct{}{},
	}
	s.folder = newFolder(o.Store, &s.counts)
	return s, nil
}

// ServeIncrements accepts connections on which clients send increments. It returns
// ErrServerClosed after Shutdown, which closes the listener.
func (s *Server) ServeIncrements(l net.Listener) error {
	return s.serve(l, func(c *conn) handler { return &adder{c: c} }, s.layout.IncrementSize())
}

// ServeRows accepts connections on which clients ask for rows, as ServeIncrements.
func (s *Server) ServeRows(l net.Listener) error {
	return s.serve(l, func(c *conn) handler { return &reader{c: c} }, s.layout.RequestSize())
}

func (s *Server) serve(l net.Listener, handle func(*conn) handler, size int) error {
	defer func() { _ = l.Close() }()
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return ErrServerClosed
	}
	s.listeners[l] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.listeners, l)
		s.mu.Unlock()
	}()
	if err := accept.All(l, s.log, s.isClosing, func(c net.Conn) { s.start(c, handle, size) }); err != nil {
		return fmt.Errorf("count: %w", err)
	}
	return ErrServerClosed
}

func (s *Server) isClosing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing
}

// start serves a connection, unless there are too many.
func (s *Server) start(nc net.Conn, handle func(*conn) handler, size int) {
	c, err := newConn(s, nc, size)
	s.mu.Lock()
	switch {
	case err != nil:
	case s.closing:
		err = ErrServerClosed
	case len(s.conns) == s.opts.MaxConns:
		err = fmt.Errorf("found %d connections, expected fewer", len(s.conns))
	default:
		s.conns[c] = struct{}{}
		s.ended.Add(1)
	}
	s.mu.Unlock()
	if err != nil {
		s.counts.refused.Add(1)
		s.log.Warn("a connection was refused", "client", nc.RemoteAddr(), "error", err)
		_ = nc.Close()
		return
	}
	s.counts.accepted.Add(1)
	go func() {
		c.run(handle(c))
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
		s.ended.Done()
	}()
}

// Shutdown closes the listeners, lets the connections answer the messages that have arrived, and
// closes them. When ctx is done it closes those that have not answered yet, and returns its
// error. The store may be closed after that.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	first := !s.closing
	s.closing = true
	for l := range s.listeners {
		_ = l.Close()
	}
	for c := range s.conns {
		c.finish()
	}
	s.mu.Unlock()
	done := make(chan struct{})
	go func() {
		s.ended.Wait()
		close(done)
	}()
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = ctx.Err()
		s.mu.Lock()
		for c := range s.conns {
			_ = c.Close()
		}
		s.mu.Unlock()
		<-done
	}
	if first {
		s.folder.close()
	}
	return err
}
