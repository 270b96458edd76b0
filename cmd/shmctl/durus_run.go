package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/daemon"
	"github.com/seed-869cc763/shmkv/server/durus"
	"github.com/seed-869cc763/shmkv/shm/record"
	"github.com/seed-869cc763/shmkv/shm/record/filestorage"
)

const (
	durusBacklog = 128
	durusConns   = 1024
	durusPrefix  = "shmctl-durus-" // of temporary stores
)

// A durusServer is a run of serve durus.
type durusServer struct {
	dir     string // of the store; empty means a temporary one
	source  string // a FileStorage file that is migrated first; empty means none
	socket  string // empty means none
	mode    fs.FileMode
	uid     int // of the socket file; -1 is that of the process
	gid     int // the same
	tcp     bool
	metrics string // empty means none
	host    string
	port    int
	options record.Options
	level   slog.Level
	logfile string // empty means standard error
	repair  bool   // leave out an incomplete transaction of source

	*serverRun
	storage *record.Storage
	server  *durus.Server
}

// run serves until a signal, a client or an error ends it.
func (d *durusServer) run(ctx context.Context) (err error) {
	output := os.Stderr
	if d.logfile != "" {
		if output, err = os.OpenFile(d.logfile, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o666); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, output.Close()) }()
	}
	d.options.Store.Logger = logTo(output, slog.LevelWarn)
	d.serverRun = newServerRun(logTo(output, d.level), durus.ErrServerClosed)
	defer func() { err = errors.Join(err, d.close()) }()
	for _, step := range []func(context.Context) error{d.limits, d.listen, d.open, d.migrate, d.showMetrics} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return d.serve(ctx, d.server.Shutdown)
}

func (d *durusServer) limits(context.Context) error {
	if err := daemon.OpenFiles(durusConns + spareFiles); err != nil {
		return fmt.Errorf("for %d connections: %w", durusConns, err)
	}
	return nil
}

func (d *durusServer) listen(ctx context.Context) error {
	if d.tcp {
		port := d.port
		if port == 0 {
			port = -1 // one that is free
		}
		if err := d.listenTCP(ctx, []string{bracketed(d.host)}, port, false, durusBacklog, d.accept); err != nil {
			return err
		}
	}
	if !strings.HasPrefix(d.socket, "@") {
		if err := d.listenUnix(d.socket, d.mode, durusBacklog, d.accept); err != nil || d.socket == "" || d.uid == -1 && d.gid == -1 {
			return err
		}
		return os.Lchown(d.socket, d.uid, d.gid)
	}
	l, err := net.Listen("unix", d.socket)
	if err == nil {
		d.add(l, d.accept)
	}
	return err
}

// accept serves a listener.
func (d *durusServer) accept(l net.Listener) error { return d.server.Serve(l) }

// bracketed returns a host as it stands in an address. One with a colon is of IPv6.
func bracketed(host string) string {
	if strings.Contains(host, ":") && !strings.HasPrefix(host, "[") {
		return "[" + host + "]"
	}
	return host
}

func unbracketed(host string) string { return strings.TrimSuffix(strings.TrimPrefix(host, "["), "]") }

// open opens the store, and makes the server of it. A temporary store is removed at the end.
func (d *durusServer) open(context.Context) (err error) {
	if d.dir == "" {
		parent := sharedMemory
		if st, err := os.Stat(parent); err != nil || !st.IsDir() {
			parent = os.TempDir()
		}
		if d.dir, err = os.MkdirTemp(parent, durusPrefix); err != nil {
			return err
		}
		d.onClose(func() error { return removeStore(d.dir) })
	} else if isFileStorage(d.dir) {
		return fmt.Errorf("found a FileStorage file of Durus at %s, expected a store or nothing (--migrate with --store makes a store of it)", d.dir)
	} else if !d.options.Store.ReadOnly {
		if err := removeEmpty(d.dir); err != nil {
			return err
		}
	}
	if d.storage, err = record.Open(d.dir, &d.options); err != nil {
		return err
	}
	d.onClose(d.storage.Close)
	path, _ := filepath.Abs(d.dir)
	d.serves = []any{"store", path}
	d.server, err = durus.New(&durus.Options{Storage: d.storage, MaxConns: durusConns, Stop: d.ended, Log: d.log})
	return err
}

// showMetrics opens the listener of metrics.
func (d *durusServer) showMetrics(context.Context) error {
	return d.listenForMetrics(d.metrics, "durus", d.storage.Store(), func() any { return d.server.Stats() }, func() []metric {
		return durusMetrics(d.server.Stats())
	})
}

// ended ends the server for a client.
func (d *durusServer) ended() {
	d.log.Info("a client has ended the server")
	d.stop(promptly)
}

// migrate copies the records of the source, if there is one, to a store without records, or to one in
// which a migration was interrupted.
func (d *durusServer) migrate(ctx context.Context) error {
	if d.source == "" {
		return isWhole(d.storage, d.dir) // each session would fail
	}
	stats, err := d.storage.Stats()
	if err != nil || stats.NextID > 0 && !stats.Importing {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	f, err := filestorage.Open(d.source)
	if err != nil {
		return err
	}
	defer f.Close()
	d.log.Info("migrating", "file", d.source, "format", f.Format(), "bytes", f.Size())
	bar := newProgress(os.Stderr, "migrate")
	records := f.Records(bar.show)
	if d.repair {
		records = untilTorn(records)
	}
	done, err := d.storage.Import(ctx, records, nil)
	bar.clear()
	if err != nil {
		if ctx.Err() != nil {
			return errInterrupted
		}
		return err
	}
	d.log.Info("migrated", "records", d.storage.Len(), "entries", done.Records)
	return nil
}
