package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/daemon"
	"github.com/seed-869cc763/shmkv/server/count"
	"github.com/seed-869cc763/shmkv/shm"
)

// A countdServer is a run of serve countd. What it has opened, it closes in the other order.
type countdServer struct {
	*countdSettings
	log        *slog.Logger
	store      *shm.Store
	server     *count.Server
	increments []net.Listener
	reads      []net.Listener
	closers    []func() error
}

// serveCountd serves until a signal or an error ends it.
func serveCountd(ctx context.Context, s *countdSettings) (err error) {
	if s.daemon && !daemon.Detached() {
		return daemon.Detach()
	}
	c := &countdServer{countdSettings: s}
	levels := [...]slog.Level{slog.LevelWarn, slog.LevelInfo, slog.LevelDebug}
	c.log = logTo(os.Stderr, levels[min(s.verbose, len(levels)-1)])

	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(signals)
	signal.Ignore(syscall.SIGPIPE, syscall.SIGHUP) // of standard error: a server goes on when its reader has ended
	defer func() {
		for i := len(c.closers) - 1; i >= 0; i-- {
			err = errors.Join(err, c.closers[i]())
		}
	}()
	for _, step := range []func(context.Context) error{c.limits, c.listenTCP, c.becomeUser, c.open, c.listenUnix, c.writePID} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return c.serve(ctx, signals)
}

func (c *countdServer) onClose(f func() error) { c.closers = append(c.closers, f) }

func (c *countdServer) limits(context.Context) error {
	if err := daemon.OpenFiles(uint64(c.conns) + spareFiles); err != nil {
		return fmt.Errorf("for %d connections (see -c): %w", c.conns, err)
	}
	return nil
}

func (c *countdServer) listenTCP(ctx context.Context) error {
	if len(c.addresses) == 0 {
		return nil
	}
	for _, p := range []struct {
		to   *[]net.Listener
		port int
	}{{&c.increments, c.port}, {&c.reads, c.readPort}} {
		all, err := daemon.ListenTCP(ctx, c.addresses, p.port, c.onLoopback, c.backlog)
		if err != nil {
			return err
		}
		c.addListeners(p.to, all...)
	}
	return nil
}

// addListeners adds open listeners. They are closed by the server, or at the end if there was
// none.
func (c *countdServer) addListeners(to *[]net.Listener, all ...net.Listener) {
	*to = append(*to, all...)
	c.onClose(func() error {
		for _, l := range all {
			if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
				return err
			}
		}
		return nil
	})
}

func (c *countdServer) becomeUser(context.Context) error {
	if c.user == "" {
		return nil
	}
	return daemon.Become(c.user)
}

// open opens the store, and makes the server of it.
func (c *countdServer) open(context.Context) (err error) {
	if c.store, err = shm.Open(c.countdSettings.store, &shm.Options{MaxSize: c.maxSize, Logger: c.log}); err != nil {
		return err
	}
	c.onClose(c.store.Close)
	c.server, err = count.New(&count.Options{
		Store: c.store, KeyspaceBytes: c.keyspace, KeyBytes: c.key, MaxConns: c.conns, Log: c.log,
	})
	return err
}

func (c *countdServer) listenUnix(context.Context) error {
	for _, s := range []struct {
		to   *[]net.Listener
		path string
	}{{&c.increments, c.socket}, {&c.reads, c.readSocket}} {
		if s.path == "" {
			continue
		}
		l, err := daemon.ListenUnix(s.path, c.mask, c.backlog)
		if err != nil {
			return err
		}
		c.addListeners(s.to, l)
	}
	return nil
}

func (c *countdServer) writePID(context.Context) error {
	if c.pidFile == "" {
		return nil
	}
	remove, err := daemon.WritePID(c.pidFile)
	if err == nil {
		c.onClose(func() error { remove(); return nil })
	}
	return err
}

// serve accepts connections, and ends at the first signal or error of a listener.
func (c *countdServer) serve(ctx context.Context, signals <-chan os.Signal) error {
	failed := make(chan error, len(c.increments)+len(c.reads))
	for _, kind := range []struct {
		of    string
		all   []net.Listener
		serve func(net.Listener) error
	}{{"increments", c.increments, c.server.ServeIncrements}, {"reads", c.reads, c.server.ServeRows}} {
		for _, l := range kind.all {
			go func() {
				if err := kind.serve(l); !errors.Is(err, count.ErrServerClosed) {
					failed <- err
				}
			}()
			c.log.Info("listening", "for", kind.of, "address", l.Addr().String(), "store", c.store.Path())
		}
	}
	err := daemon.Ready(c.verbose > 0)
	if err == nil {
		select {
		case <-ctx.Done():
		case err = <-failed:
		case sig := <-signals:
			c.log.Info("received a signal", "signal", sig)
		}
	}
	return errors.Join(err, c.shutDown(signals))
}

// shutDown lets the connections answer what they have received, and closes them after that, at
// the end of half a second, or at a further signal.
func (c *countdServer) shutDown(signals <-chan os.Signal) error {
	ctx, cancel := context.WithTimeout(context.Background(), promptly)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- c.server.Shutdown(ctx) }()
	for {
		select {
		case err := <-ended:
			if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
				c.log.Info("closed connections that had not answered", "after", promptly)
				err = nil
			}
			return err
		case <-signals:
			cancel()
		}
	}
}
