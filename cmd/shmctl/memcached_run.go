package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/daemon"
	"github.com/seed-869cc763/shmkv/server/memcache"
)

// How long a server that ends lets its connections answer what they have received.
const (
	promptly   = 500 * time.Millisecond // INT, TERM, the command shutdown
	gracefully = 10 * time.Second       // USR1, the command shutdown graceful
)

// itemParts is how many of the largest items a cache has room for at least: see docs/cache.md.
const itemParts = 8

// spareFiles is how many files a server has open beside those of its connections: the store,
// listeners, standard ones, the runtime's.
const spareFiles = 64

// A memcachedServer is a run of serve memcached. What it has opened, it closes in the other
// order.
type memcachedServer struct {
	*memcachedSettings
	log       *slog.Logger
	store     *servedStore
	server    *memcache.Server
	listeners []net.Listener
	auth      *memcache.Auth
	stops     chan time.Duration // asks for the end, with the time for answers
	closers   []func() error
}

// serveMemcached serves until a signal, a client or an error ends it.
func serveMemcached(ctx context.Context, s *memcachedSettings) (err error) {
	if s.daemon && !daemon.Detached() {
		return daemon.Detach()
	}
	m := &memcachedServer{memcachedSettings: s, stops: make(chan time.Duration, 1)}
	levels := [...]slog.Level{slog.LevelWarn, slog.LevelInfo, slog.LevelDebug}
	m.log = logTo(os.Stderr, levels[min(s.verbose, len(levels)-1)])

	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGHUP)
	defer signal.Stop(signals)
	signal.Ignore(syscall.SIGPIPE) // of standard error: a server goes on when its reader has ended
	defer func() {
		for i := len(m.closers) - 1; i >= 0; i-- {
			err = errors.Join(err, m.closers[i]())
		}
	}()
	for _, step := range []func(context.Context) error{m.limits, m.listenTCP, m.becomeUser, m.open, m.listenUnix, m.serveMetrics, m.writePID} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return m.serve(ctx, signals)
}

func logTo(w io.Writer, level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}

func (m *memcachedServer) onClose(f func() error) { m.closers = append(m.closers, f) }

// loops returns how many threads serve connections.
func (m *memcachedServer) loops() int { return min(m.threads, runtime.NumCPU()) }

// limits sets what the process may use.
func (m *memcachedServer) limits(context.Context) error {
	runtime.GOMAXPROCS(m.loops() + 1) // see memcache.Options.Threads
	if err := daemon.OpenFiles(uint64(m.conns) + spareFiles); err != nil {
		return fmt.Errorf("for %d connections: %w", m.conns, err)
	}
	if m.cores {
		if err := daemon.CoreFiles(); err != nil {
			return err
		}
	}
	if m.lock {
		return daemon.LockMemory()
	}
	return nil
}

func (m *memcachedServer) listenTCP(ctx context.Context) error {
	if len(m.addresses) == 0 {
		return nil
	}
	all, err := daemon.ListenTCP(ctx, m.addresses, m.port, m.onLoopback, m.backlog)
	if err != nil {
		return err
	}
	m.addListeners(all...)
	return nil
}

// addListeners adds open listeners. They are closed by the server, or at the end if there was
// none.
func (m *memcachedServer) addListeners(all ...net.Listener) {
	m.listeners = append(m.listeners, all...)
	m.onClose(func() error {
		for _, l := range all {
			if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
				return err
			}
		}
		return nil
	})
}

func (m *memcachedServer) becomeUser(context.Context) error {
	if m.user == "" {
		return nil
	}
	return daemon.Become(m.user)
}

// open opens the store, and makes the server of it.
func (m *memcachedServer) open(context.Context) (err error) {
	if m.authFile != "" {
		if m.auth, err = memcache.LoadAuth(m.authFile); err != nil {
			return err
		}
	}
	opts := memcache.Options{
		Threads: m.loops(),
		Bytes:   m.bytes, Auth: m.auth, Settings: m.memcachedSettings.lines(),
		ItemSize: m.itemSize, MaxConns: m.conns, MaxConnsWait: m.extended.connsWait, IdleTimeout: m.extended.idle, NoCrawler: m.extended.noCrawler,
		NoCAS: m.noCAS, NoFlush: m.noFlush, NoDump: m.noDump, NoWatch: m.noWatch, AllowShutdown: m.shutdown,
		Binary: m.protocol == "binary", Text: m.protocol == "ascii",
		Prefix: m.delimiter, Detail: m.delimiter != 0,
		Verbose: m.verbose, Log: logTo(os.Stderr, slog.LevelInfo), // clients choose by the command verbosity
		Stop: m.stop,
	}
	var now func() time.Time
	if m.debugtime {
		opts.Clock = new(memcache.Clock)
		now = opts.Clock.Now
	}
	if m.store, err = openServed(m.memcachedSettings, now, m.log); err != nil {
		return err
	}
	m.onClose(func() error { return m.store.close(m.temporary, m.log) })
	if part := m.bytes / itemParts; int64(m.itemSize) > part {
		m.log.Warn("an item takes an eighth of -m at most, which is less than -I", "bytes", part, "-I", m.itemSize)
	}
	opts.Cache = m.store.cache
	m.server, err = memcache.New(&opts)
	return err
}

// reloadAuth reads the file of users again.
func (m *memcachedServer) reloadAuth() {
	if m.auth == nil {
		return
	}
	if err := m.auth.Reload(); err != nil {
		m.log.Error("the users stay as they were", "err", err)
	}
}

// stop asks for the end, for a client. The first one counts.
func (m *memcachedServer) stop(graceful bool) {
	patience := promptly
	if graceful {
		patience = gracefully
	}
	select {
	case m.stops <- patience:
	default:
	}
}

func (m *memcachedServer) listenUnix(context.Context) error {
	if m.socket == "" {
		return nil
	}
	l, err := daemon.ListenUnix(m.socket, m.mask, m.backlog)
	if err != nil {
		return err
	}
	m.addListeners(l)
	return nil
}

func (m *memcachedServer) writePID(context.Context) error {
	if m.pidFile == "" {
		return nil
	}
	remove, err := daemon.WritePID(m.pidFile)
	if err == nil {
		m.onClose(func() error { remove(); return nil })
	}
	return err
}

// serve accepts connections, and ends at the first request to stop or error of a listener.
func (m *memcachedServer) serve(ctx context.Context, signals <-chan os.Signal) error {
	failed := make(chan error, len(m.listeners))
	for _, l := range m.listeners {
		go func() {
			if err := m.server.Serve(l); !errors.Is(err, memcache.ErrServerClosed) {
				failed <- fmt.Errorf("accepting connections on %v: %w", l.Addr(), err)
			}
		}()
		m.log.Info("listening", "address", l.Addr().String(), "store", m.store.path, "region", m.region.name)
	}
	patience, err := promptly, daemon.Ready(m.verbose > 0)
	for waiting := err == nil; waiting; {
		waiting = false
		select {
		case <-ctx.Done():
		case patience = <-m.stops:
		case err = <-failed:
		case sig := <-signals:
			m.log.Info("received a signal", "signal", sig)
			switch sig {
			case syscall.SIGUSR1:
				patience = gracefully
			case syscall.SIGHUP:
				waiting = true
				m.reloadAuth()
			}
		}
	}
	return errors.Join(err, m.shutDown(patience, signals))
}

// shutDown lets the connections answer what they have received, and closes them after that, at
// the end of patience, or at a further INT or TERM.
func (m *memcachedServer) shutDown(patience time.Duration, signals <-chan os.Signal) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- m.server.Shutdown(ctx) }()
	for {
		select {
		case err := <-ended:
			if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
				m.log.Info("closed connections that had not answered", "after", patience)
				err = nil
			}
			return err
		case sig := <-signals:
			if sig == syscall.SIGINT || sig == syscall.SIGTERM {
				cancel()
			}
		}
	}
}
