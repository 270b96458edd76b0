package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strconv"

	"github.com/spf13/cobra"
)

const durusHelp = `durus serves records (package shm/record) by the storage protocol of Durus, the Python
object database. --file, --host, --port and --address are those of Durus's own server.
Clients are unmodified Durus programs. Go programs with sessions of their own, and other
servers, work on the same store at the same time. A commit that was acknowledged is in
the store: it outlives the end of the server, also by SIGKILL.

--file or --store names the store, a directory, which is made if it is missing. Without
them the store is a temporary one, which is removed at the end. A FileStorage file of
Durus is refused, unless --migrate is given: then --file names it, and --store the store.
If that has no records yet, the server first copies those of the file, as record migrate
does, while clients wait. The file is only read.

The server listens on the port 2972 of 127.0.0.1. With --address it listens on a unix
socket, and on TCP only if --host or --port is given too. A socket file that no server
listens on is replaced. An address that begins with @ is one without a file.

INT, TERM and the command Q of a client end the server within a second with status 0.

--garbage says when garbage is collected beside the command P of a client, which does
so under each policy but off:
  manual           only then
  off              never
  idle=DURATION    also when nothing was changed for that long
  commit=N         also up to N records with each commit, but for cycles
  share=FRACTION   also when more than this part of the records is referred to by none

--checkpoint says when the store is made to survive a crash of the system, if it is on a
disk: commit, commits=N, bytes=N, every=DURATION, quiet=DURATION, or never. The default is
every=10s.`

// durusFlags are the flags of serve durus.
type durusFlags struct {
	file, store         string
	host, address, mode string
	port, level         int
	garbage, checkpoint string
	metrics             string
	migrate             bool
}

const (
	durusHost = "127.0.0.1"
	durusPort = 2972
	// durusLevel and durusWarning are levels of Python's logging.
	durusLevel   = 20
	durusWarning = 30
)

func newServeDurus() *cobra.Command {
	var f durusFlags
	cmd := &cobra.Command{
		Use:   "durus",
		Short: "Serve records by the storage protocol of Durus",
		Long:  durusHelp,
		Example: "  shmctl serve durus --file /var/lib/app/objects\n" +
			"  shmctl serve durus --store /var/lib/app/objects --address /run/objects.sock --garbage idle=1m\n" +
			"  shmctl serve durus --file app.durus --migrate --store /var/lib/app/objects",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("serve durus: found the argument %q, expected flags only", args[0])
			}
			d, err := f.server(cmd.Flags().Changed)
			if err != nil {
				return usageError{fmt.Errorf("serve durus: %w", err)}
			}
			ctx := cmd.Context()
			if ctx == nil {
				ctx = context.Background()
			}
			if err := d.run(ctx); err != nil {
				return fmt.Errorf("serve durus: %w", err)
			}
			return nil
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.file, "file", "", "the store, a directory: `PATH`")
	fl.StringVar(&f.store, "store", "", "the same: `DIR`")
	fl.BoolVar(&f.migrate, "migrate", false, "copy the records of --file, a FileStorage file of Durus, to --store first")
	fl.StringVar(&f.host, "host", durusHost, "listen on TCP at `HOST`")
	fl.IntVar(&f.port, "port", durusPort, "listen on TCP at this `PORT`; 0 takes one that is free")
	fl.StringVar(&f.address, "address", "", "listen on a unix socket: `PATH`")
	fl.StringVar(&f.mode, "mode", "0700", "permission bits of the unix socket, `OCTAL`")
	fl.IntVar(&f.level, "logginglevel", durusLevel, "as Durus: from 30 on, only what needs attention is logged: `N`")
	fl.StringVar(&f.garbage, "garbage", "manual", "when garbage is collected: `POLICY`")
	fl.StringVar(&f.checkpoint, "checkpoint", "", "when the store is made to survive a crash of the system: `POLICY`")
	fl.StringVar(&f.metrics, "metrics", "", "serve metrics by HTTP on `ADDR`, as in :9150: /metrics for Prometheus, /debug/vars; without a host on loopback")
	if err := errors.Join(cmd.MarkFlagDirname("store"), cmd.MarkFlagDirname("file")); err != nil {
		panic(err)
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		return fmt.Errorf("serve durus: %w, see shmctl serve durus --help", err)
	})
	return cmd
}

// server returns what the flags ask for.
func (f *durusFlags) server(given func(flag string) bool) (*durusServer, error) {
	d := &durusServer{dir: f.file, socket: f.address, host: f.host, port: f.port, level: slog.LevelInfo}
	if f.level >= durusWarning {
		d.level = slog.LevelWarn
	}
	switch {
	case f.port < 0 || f.port > 65535:
		return nil, fmt.Errorf("found --port %d, expected a number from 0 to 65535", f.port)
	case f.migrate && (f.file == "" || f.store == ""):
		return nil, errors.New("found --migrate without --file and --store, expected --file, the file, and --store, the store")
	case f.migrate:
		d.dir, d.source = f.store, f.file
	case f.file != "" && f.store != "" && f.file != f.store:
		return nil, fmt.Errorf("found --file %s and --store %s, expected one of them", f.file, f.store)
	case f.file == "":
		d.dir = f.store
	}
	for _, name := range []string{"file", "store", "host", "address", "metrics"} {
		if given(name) && map[string]string{"file": f.file, "store": f.store, "host": f.host, "address": f.address, "metrics": f.metrics}[name] == "" {
			return nil, fmt.Errorf("found --%s without a name, expected one", name)
		}
	}
	d.tcp = f.address == "" || given("host") || given("port")
	mode, err := strconv.ParseUint(f.mode, 8, 32)
	if err != nil || mode > 0o777 {
		return nil, fmt.Errorf("found --mode %q, expected octal permission bits such as 0770", f.mode)
	}
	d.mode = fs.FileMode(mode)
	if d.options.Garbage, err = parseGarbage(f.garbage); err != nil {
		return nil, err
	}
	if d.options.Checkpoint, err = parseCheckpoint(f.checkpoint); err != nil {
		return nil, err
	}
	d.metrics, err = metricsAddress(f.metrics)
	return d, err
}

// isFileStorage reports whether a file is one of Durus's FileStorage.
func isFileStorage(path string) bool {
	file, err := os.Open(path)
	if err != nil {
		return false
	}
	defer file.Close()
	b := make([]byte, 8)
	n, _ := file.Read(b)
	return string(b[:n]) == "SHELF-1\n" || n >= 6 && string(b[:6]) == "DFS20\x00"
}
