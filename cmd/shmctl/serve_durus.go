package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/shm/record"
)

const durusHelp = `durus serves records (package shm/record) by the storage protocol of Durus, the Python
object database. The flags of Durus's own server (durus -s) have the meaning that they
have there, as far as a store can have it. Clients are unmodified Durus programs. Go programs with sessions of their own, and other
servers, work on the same store at the same time. A commit that was acknowledged is in
the store: it outlives the end of the server, also by SIGKILL.

--file or --store names the store, a directory, which is made if it is missing, and in
place of an empty file. Without them the store is a temporary one, which is removed at
the end. A FileStorage file of Durus is refused, unless --migrate is given: then --file
names it, and --store the store. If that has no records yet, the server first copies
those of the file, as record migrate does, while clients wait. The file is only read.
With --repair, an incomplete transaction at its end is left out. A store needs no repair.

The server listens on the port 2972 of 127.0.0.1. With --address it listens on a unix
socket, and on TCP only if --host or --port is given too. A socket file that no server
listens on is replaced. An address that begins with @ is one without a file. --owner and
--group, each a name or a number, are those of the file; --umask, a decimal number as in
Durus, takes permission bits from 0777, and --mode gives them in octal.

INT, TERM and the command Q of a client end the server within a second with status 0.
--stop sends Q to a server at --address, or --host and --port, and waits for its end.

With --readonly nothing is written: a client that commits, or asks for new ids, loses its
connection, and P does nothing.

--garbage says when garbage is collected beside the command P of a client, which does
so under each policy but off:
  manual           only then
  off              never
  idle=DURATION    also when nothing was changed for that long
  commit=N         also up to N records with each commit, but for cycles
  share=FRACTION   also when more than this part of the records is referred to by none
  bytes=N          also when clients have committed N bytes since the last collection
                   began; --gcbytes N is the same, and --gcbytes 0 is manual

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
	owner, group, umask string
	gcbytes             int64
	logfile             string
	repair, readonly    bool
	stop                bool
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
			run := d.run
			if f.stop {
				run = d.stopOther
			}
			if err := run(ctx); err != nil {
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
	fl.StringVar(&f.owner, "owner", "", "owner of the file of the unix socket: `NAME`")
	fl.StringVar(&f.group, "group", "", "group of the file of the unix socket: `NAME`")
	fl.StringVar(&f.umask, "umask", "", "permission bits that the unix socket does not have, in decimal: `N`")
	fl.StringVar(&f.logfile, "logfile", "", "append the log to this file, in place of standard error: `PATH`")
	fl.BoolVar(&f.repair, "repair", false, "with --migrate, leave out an incomplete transaction at the end of the file")
	fl.BoolVar(&f.readonly, "readonly", false, "write nothing")
	fl.BoolVar(&f.stop, "stop", false, "end a server in place of starting one")
	fl.Int64Var(&f.gcbytes, "gcbytes", 0, "collect garbage after `N` bytes of commits; 0 means never")
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
	if f.port < 0 || f.port > 65535 {
		return nil, fmt.Errorf("found --port %d, expected a number from 0 to 65535", f.port)
	}
	for _, flag := range []struct{ name, value string }{
		{"file", f.file}, {"store", f.store}, {"host", f.host}, {"address", f.address}, {"owner", f.owner}, {"group", f.group}, {"logfile", f.logfile}, {"metrics", f.metrics},
	} {
		if given(flag.name) && flag.value == "" {
			return nil, fmt.Errorf("found --%s without a name, expected one", flag.name)
		}
	}
	switch {
	case f.stop: // other flags count for nothing
		return d, nil
	case f.migrate && (f.file == "" || f.store == ""):
		return nil, errors.New("found --migrate without --file and --store, expected --file, the file, and --store, the store")
	case f.migrate:
		d.dir, d.source = f.store, f.file
	case f.file != "" && f.store != "" && f.file != f.store:
		return nil, fmt.Errorf("found --file %s and --store %s, expected one of them", f.file, f.store)
	case f.file == "":
		d.dir = f.store
	}
	d.tcp = f.address == "" || given("host") || given("port")
	d.logfile, d.repair = f.logfile, f.repair
	metrics, err := metricsAddress(f.metrics)
	if err := errors.Join(err, f.socket(given, d), f.policies(given, d)); err != nil {
		return nil, err
	}
	d.metrics = metrics
	return d, nil
}

// socket takes the flags of the file of the unix socket.
func (f *durusFlags) socket(given func(flag string) bool, d *durusServer) error {
	if f.address == "" || strings.HasPrefix(f.address, "@") {
		for _, name := range []string{"owner", "group", "umask"} {
			if given(name) {
				return fmt.Errorf("found --%s without --address PATH, expected the file of a unix socket", name)
			}
		}
	}
	mode, err := strconv.ParseUint(f.mode, 8, 32)
	switch {
	case err != nil || mode > 0o777:
		return fmt.Errorf("found --mode %q, expected octal permission bits such as 0770", f.mode)
	case given("umask") && given("mode"):
		return errors.New("found --umask and --mode, expected one of them")
	case given("umask"):
		umask, err := strconv.ParseUint(f.umask, 10, 32)
		if err != nil || umask > 0o777 || len(f.umask) > 1 && f.umask[0] == '0' {
			return fmt.Errorf("found --umask %s, expected a decimal number from 0 to 511 without a zero before it (63 is 077 in octal; --mode takes octal)", f.umask)
		}
		mode = 0o777 &^ umask
	}
	d.mode = fs.FileMode(mode)
	if d.uid, err = idOf("owner", f.owner, userID); err != nil {
		return err
	}
	d.gid, err = idOf("group", f.group, groupID)
	return err
}

// policies takes the flags that say when the server does what nobody asks for.
func (f *durusFlags) policies(given func(flag string) bool, d *durusServer) (err error) {
	if d.options.Garbage, err = parseGarbage(f.garbage); err != nil {
		return err
	}
	switch {
	case f.gcbytes < 0:
		return fmt.Errorf("found --gcbytes %d, expected 0 or more", f.gcbytes)
	case given("gcbytes") && given("garbage"):
		return errors.New("found --gcbytes and --garbage, expected one of them")
	case f.gcbytes > 0:
		d.options.Garbage = record.PastBytes(f.gcbytes)
	}
	if d.options.Checkpoint, err = parseCheckpoint(f.checkpoint); err != nil || !f.readonly {
		return err
	}
	for _, name := range []string{"migrate", "garbage", "gcbytes", "checkpoint"} {
		if given(name) {
			return fmt.Errorf("found --readonly and --%s, expected one of them", name)
		}
	}
	if d.dir == "" {
		return errors.New("found --readonly without a store, expected --file or --store")
	}
	d.options.Garbage, d.options.Store.ReadOnly = record.Off(), true
	return nil
}
