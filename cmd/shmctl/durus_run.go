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
	host    string
	port    int
	options record.Options
	level   slog.Level
	logfile string // empty means standard error
	repair  bool   // leave out an incomplete transaction of source

	log       *slog.Logger
	storage   *record.Storage
	server    *durus.Server
	listeners []net.Listener
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
	d.log, d.options.Store.Logger = logTo(output, d.level), logTo(output, slog.LevelWarn)
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(signals)
	signal.Ignore(syscall.SIGPIPE) // of standard error: a server goes on when its reader has ended
	if err := daemon.OpenFiles(durusConns + spareFiles); err != nil {
		return fmt.Errorf("for %d connections: %w", durusConns, err)
	}
	defer func() {
		for _, l := range d.listeners {
			if e := l.Close(); !errors.Is(e, net.ErrClosed) {
				err = errors.Join(err, e)
			}
		}
	}()
	if err := d.listen(ctx); err != nil {
		return err
	}
	stopped := make(chan struct{})
	closeStore, err := d.open(func() { close(stopped) })
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeStore()) }()
	if err := d.migrate(ctx); err != nil {
		return err
	}
	return d.serve(ctx, signals, stopped)
}

func (d *durusServer) listen(ctx context.Context) error {
	if d.tcp {
		port := d.port
		if port == 0 {
			port = -1 // one that is free
		}
		all, err := daemon.ListenTCP(ctx, []string{bracketed(d.host)}, port, false, durusBacklog)
		if err != nil {
			return err
		}
		d.listeners = append(d.listeners, all...)
	}
	if d.socket == "" {
		return nil
	}
	var l net.Listener
	var err error
	if strings.HasPrefix(d.socket, "@") {
		l, err = net.Listen("unix", d.socket)
	} else {
		l, err = daemon.ListenUnix(d.socket, d.mode, durusBacklog)
	}
	if err != nil {
		return err
	}
	d.listeners = append(d.listeners, l)
	if d.uid == -1 && d.gid == -1 {
		return nil
	}
	return os.Lchown(d.socket, d.uid, d.gid)
}

// bracketed returns a host as it stands in an address. One with a colon is of IPv6.
func bracketed(host string) string {
	if strings.Contains(host, ":") && !strings.HasPrefix(host, "[") {
		return "[" + host + "]"
	}
	return host
}

func unbracketed(host string) string { return strings.TrimSuffix(strings.TrimPrefix(host, "["), "]") }

// open opens the store, and makes the server of it. closeStore also removes a temporary store.
func (d *durusServer) open(stop func()) (closeStore func() error, err error) {
	temporary := d.dir == ""
	if temporary {
		parent := sharedMemory
		if st, err := os.Stat(parent); err != nil || !st.IsDir() {
			parent = os.TempDir()
		}
		if d.dir, err = os.MkdirTemp(parent, durusPrefix); err != nil {
			return nil, err
		}
	} else if isFileStorage(d.dir) {
		return nil, fmt.Errorf("found a FileStorage file of Durus at %s, expected a store or nothing (--migrate with --store makes a store of it)", d.dir)
	} else if !d.options.Store.ReadOnly {
		if err := removeEmpty(d.dir); err != nil {
			return nil, err
		}
	}
	closeStore = func() error {
		if !temporary {
			return nil
		}
		return removeStore(d.dir)
	}
	if d.storage, err = record.Open(d.dir, &d.options); err != nil {
		return nil, errors.Join(err, closeStore())
	}
	remove := closeStore
	closeStore = func() error { return errors.Join(d.storage.Close(), remove()) }
	if d.server, err = durus.New(&durus.Options{Storage: d.storage, MaxConns: durusConns, Stop: stop, Log: d.log}); err != nil {
		return nil, errors.Join(err, closeStore())
	}
	return closeStore, nil
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

// serve accepts connections, and ends at the first request to stop or error of a listener.
func (d *durusServer) serve(ctx context.Context, signals <-chan os.Signal, stopped <-chan struct{}) (err error) {
	failed := make(chan error, len(d.listeners))
	path, _ := filepath.Abs(d.dir)
	for _, l := range d.listeners {
		go func() {
			if err := d.server.Serve(l); !errors.Is(err, durus.ErrServerClosed) {
				failed <- fmt.Errorf("accepting connections on %v: %w", l.Addr(), err)
			}
		}()
		d.log.Info("listening", "address", l.Addr().String(), "store", path)
	}
	select {
	case <-ctx.Done():
	case <-stopped:
		d.log.Info("a client has ended the server")
	case err = <-failed:
	case sig := <-signals:
		d.log.Info("received a signal", "signal", sig)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), promptly)
	defer cancel()
	if e := d.server.Shutdown(ctx); e != nil && !errors.Is(e, context.DeadlineExceeded) {
		err = errors.Join(err, e)
	}
	return err
}
