package memcache

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-869cc763/shmkv/shm/cache"
)

// Options say how a server works. The zero value of each field but Cache is its default.
type Options struct {
	// Cache has the items. It stays the caller's, who closes it after Shutdown.
	Cache *cache.Cache
	// ItemSize is the size of the largest item in bytes, as memcached counts it: with the key
	// and about 50 bytes for what belongs to it. 0 means 1 MiB.
	ItemSize int
	// MaxConns is how many connections may be open at once; 0 means 1024.
	MaxConns int
	// MaxConnsWait lets clients beyond MaxConns wait until another connection was closed. By
	// default they get an error, and their connection is closed.
	MaxConnsWait bool
	// IdleTimeout is after how long without a request a connection is closed; 0 means never.
	IdleTimeout time.Duration
	// NoCAS shows 0 as the unique number of each item, and refuses cas, as memcached -C.
	NoCAS bool
	// NoFlush, NoDump and NoWatch refuse flush_all, dumps of the keys, and watch.
	NoFlush, NoDump, NoWatch bool
	// AllowShutdown lets clients end the server by the command shutdown: see Stop.
	AllowShutdown bool
	// Stop is called when a client has ended the server. It must not wait for Shutdown.
	Stop func(graceful bool)
	// Binary and Text admit one protocol only. With neither, or both, the first byte of a
	// connection decides.
	Binary, Text bool
	// Prefix ends the part of a key by which stats detail counts; 0 means a colon.
	Prefix byte
	// Detail lets stats detail count from the beginning.
	Detail bool
	// Auth are the users who may send requests; nil means everybody.
	Auth *Auth
	// Verbose is memcached's level of verbosity, which verbosity changes. From 2 on all
	// requests are logged.
	Verbose int
	// Log gets records about connections; nil means silence.
	Log *slog.Logger
	// Clock enables the command debugtime, by which tests set the clock; nil disables it.
	// The Cache must have Clock.Now as its clock.
	Clock *Clock
}

const (
	defaultItemSize = 1 << 20
	defaultMaxConns = 1024
)

// A Server serves the memcached protocols on any number of listeners.
type Server struct {
	opts    Options
	cache   *cache.Cache
	log     *slog.Logger
	started time.Time

	mu        sync.Mutex
	listeners map[net.Listener]struct{}
	conns     map[*conn]struct{}
	closing   bool
	running   sync.WaitGroup // of connections

	stopping atomic.Bool
}

// ErrServerClosed is the error of Serve after Shutdown.
var ErrServerClosed = errors.New("memcache: server is closed")

// New returns a server. The error names an option that cannot be.
func New(opts *Options) (*Server, error) {
	o := *opts
	if o.Cache == nil {
		return nil, errors.New("memcache: Options.Cache is nil, expected an open cache")
	}
	if o.ItemSize == 0 {
		o.ItemSize = defaultItemSize
	}
	if o.MaxConns == 0 {
		o.MaxConns = defaultMaxConns
	}
	if o.Prefix == 0 {
		o.Prefix = ':'
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Server{
		opts:      o,
		cache:     o.Cache,
		log:       o.Log,
		started:   time.Now(),
		listeners: map[net.Listener]struct{}{},
		conns:     map[*conn]struct{}{},
	}, nil
}

// Serve accepts connections of l until Shutdown, and returns ErrServerClosed then; another
// error is one of l. It closes l. Several calls with different listeners may run at once.
func (s *Server) Serve(l net.Listener) error {
	defer l.Close()
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return ErrServerClosed
	}
	s.listeners[l] = struct{}{}
	s.mu.Unlock()
	for {
		nc, err := l.Accept()
		if err != nil {
			if s.stopping.Load() {
				return ErrServerClosed
			}
			return err
		}
		s.start(nc)
	}
}

// start serves a connection in a goroutine of its own.
func (s *Server) start(nc net.Conn) {
	c := newConn(s, nc)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		nc.Close()
		return
	}
	s.conns[c] = struct{}{}
	s.running.Go(func() {
		c.serve()
		nc.Close()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	})
}

// Shutdown ends the server: it closes the listeners, lets each connection answer the requests
// that have arrived, and closes it. Connections that have not ended when ctx does are closed
// at once, and the error is that of ctx.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stopping.Store(true)
	s.mu.Lock()
	s.closing = true
	for l := range s.listeners {
		l.Close()
	}
	for c := range s.conns {
		c.nc.SetReadDeadline(time.Unix(1, 0))
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
