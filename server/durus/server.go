package durus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-869cc763/shmkv/server/internal/accept"
	"github.com/seed-869cc763/shmkv/shm/record"
)

// Options say how a server works. The zero value of each field but Storage is its default.
type Options struct {
	// Storage has the records. It stays the caller's, who closes it after Shutdown.
	Storage *record.Storage
	// MaxConns is how many connections may be open at once; 0 means 1024. Further ones are closed.
	MaxConns int
	// MaxCommit is the most bytes of a commit; 0 means 256 MiB. The memory for it is taken as the
	// bytes arrive.
	MaxCommit int64
	// MaxArriving is the most bytes of commits and of ids of B that all connections together have sent and that
	// were not answered yet; 0 means 1 GiB. Above it, a connection that sends more is closed, unless its own
	// command has less than 64 KiB so far.
	MaxArriving int64
	// MaxLoad is how many ids B may have; 0 means 1,048,576.
	MaxLoad int
	// Stop is called, once, when a client has sent Q. The listeners are closed by then. It must not wait
	// for Shutdown. With nil, Q closes only the connection.
	Stop func()
	// Log gets records about connections that were closed for an error, and about collections; nil
	// means silence.
	Log *slog.Logger
}

const (
	defaultMaxConns  = 1024
	defaultMaxCommit = 256 << 20
	defaultArriving  = 1 << 30
	defaultMaxLoad   = 1 << 20
)

// A Server serves the protocol on any number of listeners.
type Server struct {
	opts    Options
	storage *record.Storage
	log     *slog.Logger
	closing atomic.Bool  // set with mu
	arrived atomic.Int64 // bytes of commits and of ids of B that were not answered yet
	stop    sync.Once
	ctx     context.Context // of collections
	cancel  context.CancelFunc
	running sync.WaitGroup // connections and collections
	counts  counts

	mu        sync.Mutex
	listeners map[net.Listener]struct{}
	conns     map[*conn]struct{}
	packing   chan struct{} // closed at the end of the collection that runs; nil if there is none
}

// ErrServerClosed is the error of Serve after Shutdown, and after Q.
var ErrServerClosed = errors.New("durus: server is closed")

// New returns a server. The error names an option that cannot be.
func New(opts *Options) (*Server, error) {
	o := *opts
	switch {
	case o.Storage == nil:
		return nil, errors.New("durus: Options.Storage is nil, expected an open storage")
	case o.MaxConns < 0 || o.MaxCommit < 0 || o.MaxArriving < 0 || o.MaxLoad < 0:
		return nil, fmt.Errorf("durus: Options.MaxConns is %d, MaxCommit %d, MaxArriving %d and MaxLoad %d, expected 0 or more",
			o.MaxConns, o.MaxCommit, o.MaxArriving, o.MaxLoad)
	}
	o.MaxConns = cmp.Or(o.MaxConns, defaultMaxConns)
	o.MaxCommit = cmp.Or(o.MaxCommit, defaultMaxCommit)
	o.MaxArriving = cmp.Or(o.MaxArriving, defaultArriving)
	o.MaxLoad = cmp.Or(o.MaxLoad, defaultMaxLoad)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{opts: o, storage: o.Storage, log: o.Log, listeners: map[net.Listener]struct{}{}, conns: map[*conn]struct{}{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// Serve accepts connections of l until Shutdown or Q, and returns ErrServerClosed then; another error
// is one of l. It closes l. Several calls with different listeners may run at once.
func (s *Server) Serve(l net.Listener) error {
	defer l.Close()
	s.mu.Lock()
	if s.closing.Load() {
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
	if err := accept.All(l, s.log, s.closing.Load, s.start); err != nil {
		return fmt.Errorf("durus: %w", err)
	}
	return ErrServerClosed
}

// start serves a connection with a goroutine of its own.
func (s *Server) start(nc net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Load() || len(s.conns) >= s.opts.MaxConns {
		s.counts.refused.Add(1)
		s.log.Warn("a connection was refused", "client", nc.RemoteAddr().String(), "connections", len(s.conns))
		nc.Close()
		return
	}
	c := newConn(s, nc)
	s.counts.accepted.Add(1)
	s.conns[c] = struct{}{}
	s.running.Go(func() {
		defer func() {
			s.mu.Lock()
			delete(s.conns, c)
			s.mu.Unlock()
		}()
		c.run()
	})
}

// Shutdown ends the server: it closes the listeners, lets each connection answer the command that it is
// at, and closes it. A collection ends after its step, and the next Pack goes on with it. When ctx
// ends, connections that have not ended are closed at once, and the error is that of ctx.
func (s *Server) Shutdown(ctx context.Context) error {
	s.close()
	s.mu.Lock()
	for c := range s.conns {
		_ = c.nc.SetReadDeadline(time.Now())
	}
	s.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		s.running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	for c := range s.conns {
		c.nc.Close()
	}
	s.mu.Unlock()
	<-ended
	return ctx.Err()
}

// close closes the listeners and ends collections.
func (s *Server) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing.Store(true)
	s.cancel()
	for l := range s.listeners {
		l.Close()
	}
}

// quit is for a client that has sent Q.
func (s *Server) quit() {
	if s.opts.Stop == nil {
		return
	}
	s.close()
	s.stop.Do(s.opts.Stop)
}

// packWait is how long an answer to P waits for the end of the collection.
const packWait = time.Second

// pack starts a collection, unless one of this server runs, and waits a little for its end.
func (s *Server) pack() {
	s.mu.Lock()
	ended := s.packing
	if ended == nil && !s.closing.Load() {
		ended = make(chan struct{})
		s.packing = ended
		s.running.Go(func() {
			p, err := s.storage.Pack(s.ctx)
			switch {
			case errors.Is(err, record.ErrCollectionOff): // as P asks for it all the same
			case err != nil && s.ctx.Err() == nil:
				s.log.Error("the collection has failed", "err", err)
			default:
				s.log.Info("collected", "records", p.Collected, "took", p.Took, "ended", err == nil)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			s.packing = nil
			close(ended)
		})
	}
	s.mu.Unlock()
	if ended == nil {
		return
	}
	t := time.NewTimer(packWait)
	defer t.Stop()
	select {
	case <-ended:
	case <-t.C:
	}
}
