package memcache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed-869cc763/shmkv/server/internal/accept"
	"github.com/seed-869cc763/shmkv/shm/cache"
)

// Options say how a server works. The zero value of each field but Cache is its default.
type Options struct {
	// Cache has the items. It stays the caller's, who closes it after Shutdown.
	Cache *cache.Cache
	// Bytes is the memory that the cache may take, as stats and stats settings tell it; 0 means
	// the bound of the cache.
	Bytes int64
	// ItemSize is the size of the largest item in bytes, as memcached counts it: with the key
	// and about 50 bytes for what belongs to it. 0 means 1 MiB.
	ItemSize int
	// MaxConns is how many connections may be open at once; 0 means 1024.
	MaxConns int
	// MaxConnsWait lets clients beyond MaxConns wait until another connection was closed. By
	// default they get an error, and their connection is closed.
	MaxConnsWait bool
	// Threads is how many threads serve connections; 0 means as many as there are processors. A
	// program that only serves should let Go use one processor more than that (GOMAXPROCS):
	// with none to spare, the runtime takes the processor from a thread that waits for requests
	// after 20 microseconds, again and again.
	Threads int
	// IdleTimeout is after how long without a request a connection is closed; 0 means never. Of
	// a request that has arrived in part, and of answers that the client does not read, each
	// byte counts. A watcher that reads is not closed.
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
	// NoCrawler tells clients that memcached's crawler is off, until they enable it. Nothing else
	// changes: the cache deletes expired items all the same.
	NoCrawler bool
	// Settings are lines of stats settings that the server does not know, such as tcpport.
	// They take the place of its own of the same name.
	Settings []Setting
}

// A Setting is a line of stats settings.
type Setting struct{ Name, Value string }

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
	verbose atomic.Int32
	seconds atomic.Int64 // since started, at most two ticks late
	memory  atomic.Int64 // Options.Bytes, or as cache_memlimit has set it
	crawler atomic.Bool  // as lru_crawler enable and disable have set it
	tuning  tuning

	detail   detail
	recent   recent
	watchers watchers
	counts   [stripes]counts

	working context.Context // of long work for clients; ends when that of Shutdown does
	endWork context.CancelFunc

	closing atomic.Bool // set with mu
	files   files
	loops   []*loop // of Serve; set with mu

	mu            sync.Mutex
	free          sync.Cond // a connection has ended, or the server is closing
	listeners     map[net.Listener]struct{}
	conns         map[*conn]struct{}
	accepted      int          // connections so far
	waiting       int          // connections that wait for another one to end
	countedBefore cache.Counts // of the cache, at the last stats reset
	ticking       chan struct{}
	ended         chan struct{} // closed when the server is closing and has no connections
}

// ErrServerClosed is the error of Serve after Shutdown.
var ErrServerClosed = errors.New("memcache: server is closed")

// New returns a server. The error names an option that cannot be.
func New(opts *Options) (*Server, error) {
	o := *opts
	switch {
	case o.Cache == nil:
		return nil, errors.New("memcache: Options.Cache is nil, expected an open cache")
	case o.ItemSize < 0:
		return nil, fmt.Errorf("memcache: Options.ItemSize is %d, expected 0 or more", o.ItemSize)
	case o.MaxConns < 0:
		return nil, fmt.Errorf("memcache: Options.MaxConns is %d, expected 0 or more", o.MaxConns)
	case o.Threads < 0:
		return nil, fmt.Errorf("memcache: Options.Threads is %d, expected 0 or more", o.Threads)
	case o.Auth != nil && o.Binary:
		return nil, errors.New("memcache: Options.Auth is given with Options.Binary, expected only one of them")
	}
	o.ItemSize = cmp.Or(o.ItemSize, defaultItemSize)
	o.MaxConns = cmp.Or(o.MaxConns, defaultMaxConns)
	o.Bytes = cmp.Or(o.Bytes, o.Cache.Stats().Bound)
	o.Prefix = cmp.Or(o.Prefix, ':')
	o.Threads = cmp.Or(o.Threads, runtime.NumCPU())
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Binary && o.Text {
		o.Binary, o.Text = false, false
	}
	s := &Server{
		opts:      o,
		cache:     o.Cache,
		log:       o.Log,
		started:   time.Now(),
		ended:     make(chan struct{}),
		listeners: map[net.Listener]struct{}{},
		conns:     map[*conn]struct{}{},
		tuning:    tuning{tuned: defaultTuning},
	}
	s.working, s.endWork = context.WithCancel(context.Background())
	s.free.L = &s.mu
	s.watchers.listen = func() func() { return s.cache.OnEvict(s.evicted) }
	s.verbose.Store(int32(o.Verbose))
	s.memory.Store(o.Bytes)
	s.crawler.Store(!o.NoCrawler)
	s.recent.seed = maphash.MakeSeed()
	s.detail.prefix = o.Prefix
	s.detail.on.Store(o.Detail)
	s.detail.reset()
	return s, nil
}

// Serve accepts connections of l until Shutdown, and returns ErrServerClosed then; another
// error is one of l. It closes l. Several calls with different listeners may run at once.
func (s *Server) Serve(l net.Listener) error {
	defer l.Close()
	s.mu.Lock()
	if s.closing.Load() {
		s.mu.Unlock()
		return ErrServerClosed
	}
	if err := s.startLoops(); err != nil {
		s.mu.Unlock()
		return err
	}
	s.listeners[l] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.listeners, l)
		s.mu.Unlock()
	}()
	if err := accept.All(l, s.log, s.closing.Load, s.start); err != nil {
		return fmt.Errorf("memcache: %w", err)
	}
	return ErrServerClosed
}

// startLoops starts what serves the connections, unless that was done. The caller has mu.
func (s *Server) startLoops() error {
	if s.loops != nil {
		return nil
	}
	var loops []*loop
	for range s.opts.Threads {
		l, err := newLoop(s)
		if err != nil {
			for _, l := range loops {
				l.close()
			}
			return err
		}
		loops = append(loops, l)
	}
	s.loops = loops
	for _, l := range loops {
		go l.run(events{})
	}
	s.ticking = make(chan struct{})
	go s.tick(s.ticking)
	return nil
}

// start gives a connection to a loop. At the limit of connections it refuses it, or waits until
// another one has ended.
func (s *Server) start(nc net.Conn) {
	s.mu.Lock()
	if len(s.conns) >= s.opts.MaxConns && !s.opts.MaxConnsWait {
		s.mu.Unlock()
		s.counts[0].add(rejectedConns, 1)
		_ = nc.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = nc.Write([]byte("ERROR Too many open connections\r\n"))
		nc.Close()
		return
	}
	if len(s.conns) >= s.opts.MaxConns {
		began := time.Now()
		s.waiting++
		s.counts[0].add(listenDisabled, 1)
		for len(s.conns) >= s.opts.MaxConns && !s.closing.Load() {
			s.free.Wait()
		}
		s.waiting--
		s.counts[0].add(listenDisabledMicros, int(time.Since(began).Microseconds()))
	}
	if s.closing.Load() {
		s.mu.Unlock()
		nc.Close()
		return
	}
	n := s.accepted % len(s.loops)
	c, err := newConn(s, nc, s.loops[n])
	if err != nil {
		s.mu.Unlock()
		s.log.Error("a connection was refused", "error", err)
		return
	}
	s.accepted++
	c.counts = &s.counts[n%stripes]
	s.conns[c] = struct{}{}
	s.mu.Unlock()
	c.counts.add(totalConns, 1)
	if s.watchers.want(watchConns) {
		s.watchers.opened(c)
	}
	if s.verbose.Load() > 1 {
		s.log.Info("connection is open", "conn", c.fd)
	}
	s.files.set(c.fd, c)
	if err := c.loop.watch(c, unix.EPOLL_CTL_ADD, false); err != nil {
		s.log.Error("a connection was refused", "error", err)
		c.end(err)
		return
	}
	if !c.state.CompareAndSwap(running, idle) { // something has arrived, or the server is closing
		go c.run()
	}
}

// forget removes a connection that has ended.
func (s *Server) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	s.free.Signal()
	if s.closing.Load() && len(s.conns) == 0 {
		close(s.ended)
	}
}

// Shutdown ends the server: it closes the listeners, lets each connection answer the requests
// that have arrived, and closes it. Connections that have not ended when ctx does are closed
// at once, and the error is that of ctx.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	if !s.closing.Swap(true) {
		if s.ticking != nil {
			close(s.ticking)
		}
		if len(s.conns) == 0 {
			close(s.ended)
		}
	}
	s.free.Broadcast()
	for l := range s.listeners {
		l.Close()
	}
	for c := range s.conns {
		if c.claim() {
			go c.run() // which executes what has arrived, and ends it
		}
	}
	s.mu.Unlock()
	s.watchers.closeAll()

	var err error
	select {
	case <-s.ended:
	case <-ctx.Done():
		err = ctx.Err()
		s.endWork()
		s.mu.Lock()
		for c := range s.conns {
			c.dead.Store(true)
			c.claim() // only signals: nobody is idle any more
		}
		s.mu.Unlock()
		<-s.ended
	}
	s.endWork()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.loops {
		l.stop()
	}
	s.loops = nil
	return err
}

// tickEvery is how often a server looks at the clock for its connections.
const tickEvery = 500 * time.Millisecond

// tick keeps Server.seconds, and wakes connections that have been idle for too long.
func (s *Server) tick(end chan struct{}) {
	t := time.NewTicker(tickEvery)
	defer t.Stop()
	for {
		select {
		case <-end:
			return
		case <-t.C:
		}
		s.seconds.Store(int64(time.Since(s.started) / time.Second))
		if s.opts.IdleTimeout == 0 {
			continue
		}
		s.mu.Lock()
		for c := range s.conns {
			if c.isQuiet() && c.stateNow().isKickable() {
				c.kicked.Store(true)
				if c.claim() {
					go c.kick()
				}
			}
		}
		s.mu.Unlock()
	}
}
