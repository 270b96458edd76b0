package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/daemon"
	"github.com/seed-869cc763/shmkv/server/count"
	"github.com/seed-869cc763/shmkv/shm"
)

// A countdServer is a run of serve countd.
type countdServer struct {
	*countdSettings
	*serverRun
	store  *shm.Store
	server *count.Server
}

// serveCountd serves until a signal or an error ends it.
func serveCountd(ctx context.Context, s *countdSettings) (err error) {
	if s.daemon && !daemon.Detached() {
		return daemon.Detach()
	}
	c := &countdServer{countdSettings: s, serverRun: newServerRun(logTo(os.Stderr, levelOf(s.verbose)), count.ErrServerClosed)}
	c.serverRun.pidFile, c.keepOutput = s.pidFile, s.verbose > 0
	signal.Ignore(syscall.SIGHUP)
	defer func() { err = errors.Join(err, c.close()) }()
	for _, step := range []func(context.Context) error{c.limits, c.listen, c.becomeUser, c.open, c.listenAsUser} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return c.serve(ctx, c.server.Shutdown)
}

func (c *countdServer) limits(context.Context) error {
	if err := daemon.OpenFiles(uint64(c.conns) + spareFiles); err != nil {
		return fmt.Errorf("for %d connections (see -c): %w", c.conns, err)
	}
	return nil
}

func (c *countdServer) listen(ctx context.Context) error {
	if err := c.listenTCP(ctx, c.addresses, c.port, c.onLoopback, c.backlog, c.serveIncrements, "for", "increments"); err != nil {
		return err
	}
	return c.listenTCP(ctx, c.addresses, c.readPort, c.onLoopback, c.backlog, c.serveRows, "for", "reads")
}

func (c *countdServer) serveIncrements(l net.Listener) error { return c.server.ServeIncrements(l) }

func (c *countdServer) serveRows(l net.Listener) error { return c.server.ServeRows(l) }

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
	c.serves = []any{"store", c.store.Path()}
	c.server, err = count.New(&count.Options{
		Store: c.store, KeyspaceBytes: c.keyspace, KeyBytes: c.key, MaxConns: c.conns, Log: c.log,
	})
	return err
}

// listenAsUser opens what belongs to the user that the server has become.
func (c *countdServer) listenAsUser(context.Context) error {
	if err := c.listenUnix(c.socket, c.mask, c.backlog, c.serveIncrements, "for", "increments"); err != nil {
		return err
	}
	if err := c.listenUnix(c.readSocket, c.mask, c.backlog, c.serveRows, "for", "reads"); err != nil {
		return err
	}
	return c.listenForMetrics(c.metrics, "countd", c.store, func() any { return c.server.Stats() }, func() []metric {
		return countdMetrics(c.server.Stats())
	})
}
