package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"syscall"
	"time"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/daemon"
	"github.com/seed-869cc763/shmkv/server/memcache"
)

// itemParts is how many of the largest items a cache has room for at least: see docs/cache.md.
const itemParts = 8

// A memcachedServer is a run of serve memcached.
type memcachedServer struct {
	*memcachedSettings
	*serverRun
	store  *servedStore
	server *memcache.Server
	auth   *memcache.Auth
}

// serveMemcached serves until a signal, a client or an error ends it.
func serveMemcached(ctx context.Context, s *memcachedSettings) (err error) {
	if s.daemon && !daemon.Detached() {
		return daemon.Detach()
	}
	m := &memcachedServer{memcachedSettings: s}
	m.serverRun = newServerRun(logTo(os.Stderr, levelOf(s.verbose)), memcache.ErrServerClosed, syscall.SIGUSR1, syscall.SIGHUP)
	m.serverRun.pidFile, m.keepOutput, m.reload = s.pidFile, s.verbose > 0, m.reloadAuth
	defer func() { err = errors.Join(err, m.close()) }()
	for _, step := range []func(context.Context) error{m.limits, m.listen, m.becomeUser, m.open, m.listenAsUser} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return m.serve(ctx, m.server.Shutdown)
}

// limits sets what the process may use.
func (m *memcachedServer) limits(context.Context) error {
	runtime.GOMAXPROCS(min(m.threads, runtime.NumCPU()) + 1) // see memcache.Options.Threads
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

func (m *memcachedServer) listen(ctx context.Context) error {
	return m.listenTCP(ctx, m.addresses, m.port, m.onLoopback, m.backlog, m.accept)
}

// accept serves a listener.
func (m *memcachedServer) accept(l net.Listener) error { return m.server.Serve(l) }

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
		Bytes: m.bytes, Auth: m.auth, Settings: m.memcachedSettings.lines(),
		ItemSize: m.itemSize, MaxConns: m.conns, MaxConnsWait: m.extended.connsWait, IdleTimeout: m.extended.idle, NoCrawler: m.extended.noCrawler,
		NoCAS: m.noCAS, NoFlush: m.noFlush, NoDump: m.noDump, NoWatch: m.noWatch, AllowShutdown: m.shutdown,
		Binary: m.protocol == "binary", Text: m.protocol == "ascii",
		Prefix: m.delimiter, Detail: m.delimiter != 0,
		Verbose: m.verbose, Log: logTo(os.Stderr, slog.LevelInfo), // clients choose by the command verbosity
		Threads: min(m.threads, runtime.NumCPU()),
		Stop:    m.stopFor,
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
	m.serves = []any{"store", m.store.path, "region", m.region.name}
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

// stopFor ends the server for a client.
func (m *memcachedServer) stopFor(graceful bool) {
	if graceful {
		m.stop(gracefully)
	} else {
		m.stop(promptly)
	}
}

// listenAsUser opens what belongs to the user that the server has become.
func (m *memcachedServer) listenAsUser(context.Context) error {
	if err := m.listenUnix(m.socket, m.mask, m.backlog, m.accept); err != nil {
		return err
	}
	return m.listenForMetrics()
}
