package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/pflag"

	"github.com/seed-869cc763/shmkv/server/count"
	"github.com/seed-869cc763/shmkv/server/count/wire"
)

// countdFlags are the flags of serve countd as they were written.
type countdFlags struct {
	store                             string
	maxSize                           bytesValue
	port, readPort, backlog, conns    int
	listen                            []string
	socket, readSocket, mask, pidFile string
	user, metrics                     string
	keyspace, key                     int
	daemon                            bool
	verbose                           int
}

// countdConns is how many connections there may be by default. With spareFiles that is less than
// 4096 open files, the limit that Linux gives to processes and that only root can raise.
const countdConns = 4000

func (c *countdFlags) add(f *pflag.FlagSet) {
	f.SortFlags = false
	f.StringVar(&c.store, "store", "", "`DIR` of the store, which is created if it is missing (default $"+storeVariable+")")
	f.Var(&c.maxSize, "max-size", "maximum size of a store that this command creates, as in 512MiB (default 64GiB)")
	f.IntVarP(&c.port, "port", "p", wire.DefaultPort, "TCP port for increments (-1 = any free one)")
	f.IntVar(&c.readPort, "read-port", 0, "TCP port for reads (default the next one, or any free one with -p -1)")
	f.StringSliceVarP(&c.listen, "listen", "l", nil, "`ADDR` to listen on, or several with commas (default the loopback addresses)")
	f.StringVarP(&c.socket, "unix-socket", "s", "", "unix socket `FILE` for increments, and no TCP unless -l or -p is given too")
	f.StringVar(&c.readSocket, "read-socket", "", "unix socket `FILE` for reads (default that of -s with .read behind it)")
	f.StringVarP(&c.mask, "unix-mask", "a", "700", "access `MASK` of the unix sockets, in octal")
	f.IntVarP(&c.conns, "conn-limit", "c", countdConns, "most connections at a time")
	f.IntVarP(&c.backlog, "listen-backlog", "b", 1024, "most connections that wait to be accepted")
	f.IntVar(&c.keyspace, "keyspace-bytes", wire.DefaultName, "length of keyspaces in messages")
	f.IntVar(&c.key, "key-bytes", wire.DefaultName, "length of keys in messages")
	f.BoolVarP(&c.daemon, "daemon", "d", false, "detach, and run as a daemon")
	f.StringVarP(&c.pidFile, "pidfile", "P", "", "write the process's number to `FILE`")
	f.StringVarP(&c.user, "user", "u", "", "become this `USER`, if started by root")
	f.StringVar(&c.metrics, "metrics", "", "serve metrics by HTTP on `ADDR`, as in :9150: /metrics for Prometheus, /debug/vars; without a host on loopback")
	f.CountVarP(&c.verbose, "verbose", "v", "log more")
}

// countdSettings are what the flags mean, checked. Paths are absolute, because a daemon leaves
// its directory.
type countdSettings struct {
	store              string
	maxSize            int64
	port, readPort     int      // -1: any
	addresses          []string // none: no TCP
	onLoopback         bool
	socket, readSocket string // "": none
	mask               fs.FileMode
	backlog, conns     int
	keyspace, key      int
	daemon             bool
	pidFile, user      string
	metrics            string // "": none
	verbose            int
}

// settings checks the flags.
func (c *countdFlags) settings(f *pflag.FlagSet) (*countdSettings, error) {
	s := &countdSettings{
		maxSize: int64(c.maxSize), port: c.port, readPort: c.readPort, addresses: c.listen, backlog: c.backlog, conns: c.conns,
		keyspace: c.keyspace, key: c.key, daemon: c.daemon, user: c.user, verbose: c.verbose,
	}
	for _, name := range []string{"unix-socket", "read-socket", "pidfile", "store", "user", "metrics"} {
		if flag := f.Lookup(name); flag.Changed && flag.Value.String() == "" {
			return nil, fmt.Errorf("found --%s with an empty value, expected one", name)
		}
	}
	if err := errors.Join(c.numbers(s, f), c.tcp(s, f), c.places(s)); err != nil {
		return nil, err
	}
	var err error
	s.metrics, err = metricsAddress(c.metrics)
	return s, err
}

func (c *countdFlags) numbers(s *countdSettings, f *pflag.FlagSet) error {
	switch {
	case f.Changed("read-port"):
	case c.port == -1:
		s.readPort = -1
	default:
		s.readPort = c.port + 1
	}
	if s.readPort == 65536 && !f.Changed("read-port") {
		return fmt.Errorf("found --port 65535 without --read-port, expected both: there is no next port")
	}
	for _, n := range []struct {
		name        string
		n, from, to int
	}{
		{"port", c.port, -1, 65535},
		{"read-port", s.readPort, -1, 65535},
		{"conn-limit", c.conns, 1, mostConns},
		{"listen-backlog", c.backlog, 1, 1 << 30},
		{"keyspace-bytes", c.keyspace, 1, count.MaxKeyspaceBytes},
		{"key-bytes", c.key, 1, count.MaxKeyBytes},
	} {
		if n.n < n.from || n.n > n.to || n.n == 0 {
			return fmt.Errorf("found --%s %d, expected a number from %d to %d, and not 0", n.name, n.n, n.from, n.to)
		}
	}
	if s.port == s.readPort && s.port != -1 {
		return fmt.Errorf("found port %d for increments and for reads, expected two ports", s.port)
	}
	return nil
}

func (c *countdFlags) tcp(s *countdSettings, f *pflag.FlagSet) (err error) {
	if len(c.listen) == 0 && (c.socket == "" || f.Changed("port")) {
		s.addresses, s.onLoopback = loopback, true
	}
	if len(s.addresses) == 0 && f.Changed("read-port") {
		return fmt.Errorf("found --read-port and -s, expected -l or -p too: without them the server does not listen on TCP")
	}
	for _, a := range s.addresses {
		if _, _, err := net.SplitHostPort(a); err == nil && net.ParseIP(a) == nil {
			return fmt.Errorf("found the address %q in -l, expected one without a port (see -p and --read-port)", a)
		}
	}
	s.addresses, err = splitAddresses(s.addresses)
	return err
}

func (c *countdFlags) places(s *countdSettings) error {
	mask, err := strconv.ParseUint(c.mask, 8, 32)
	if err != nil || mask > 0o777 {
		return fmt.Errorf("found -a %q, expected permission bits in octal, as in 0770", c.mask)
	}
	s.mask = fs.FileMode(mask)
	store, read := cmp.Or(c.store, os.Getenv(storeVariable)), c.readSocket
	switch {
	case store == "":
		return fmt.Errorf("found no --store, expected the directory of a store")
	case c.socket == "" && read != "":
		return fmt.Errorf("found --read-socket without -s, expected both")
	case c.socket != "" && read == "":
		read = c.socket + ".read"
	}
	for _, p := range []struct {
		to   *string
		path string
	}{{&s.socket, c.socket}, {&s.readSocket, read}, {&s.pidFile, c.pidFile}, {&s.store, store}} {
		if p.path == "" {
			continue
		}
		if *p.to, err = filepath.Abs(p.path); err != nil {
			return err
		}
	}
	if s.socket != "" && s.socket == s.readSocket {
		return fmt.Errorf("found the socket %s for increments and for reads, expected two sockets", s.socket)
	}
	return nil
}
