package main

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
)

// memcachedVersion is the version of memcached whose command line and protocols are served.
const memcachedVersion = "1.6.18"

// memcachedFlags are the flags of serve memcached as they were written. The letters and the
// long names are memcached's, up to the last group.
type memcachedFlags struct {
	socket, mask, pidFile, user                  string
	port, udp, backlog, conns, threads, requests int
	listen                                       []string
	daemon, cores, lock                          bool

	memory            int // MiB
	item              string
	noEvict           bool
	factor            float64
	chunk             int
	largePages        bool
	memoryFile        string
	extended          []string
	protocol, authory string
	noCAS             bool
	noFlush, noDump   bool
	noWatch, shutdown bool
	delimiter         string
	sasl, tls         bool

	verbose int
	version bool

	region               regionChoice
	store, metrics       string
	temporary, debugtime bool
}

func (m *memcachedFlags) add(f *pflag.FlagSet) {
	f.SortFlags = false
	f.IntVarP(&m.port, "port", "p", defaultPort, "TCP port to listen on (0 = none, -1 = any free one)")
	f.StringSliceVarP(&m.listen, "listen", "l", nil, "`ADDR` to listen on, or several with commas, each with :PORT if not that of -p (default the loopback addresses)")
	f.StringVarP(&m.socket, "unix-socket", "s", "", "unix socket `FILE` to listen on, and no TCP unless -l or -p is given too")
	f.StringVarP(&m.mask, "unix-mask", "a", "700", "access `MASK` of the unix socket, in octal")
	f.IntVarP(&m.udp, "udp-port", "U", 0, "0, because UDP is not served")
	f.IntVarP(&m.memory, "memory-limit", "m", 64, "bound of the store's files, in `MiB`")
	f.BoolVarP(&m.noEvict, "disable-evictions", "M", false, "answer with an error instead of evicting")
	f.StringVarP(&m.item, "max-item-size", "I", "1m", "largest item, from 1k to 1024m `BYTES`, and at most half of -m")
	f.StringVarP(&m.memoryFile, "memory-file", "e", "", "the same as --store `DIR`, which goes before it")
	f.IntVarP(&m.conns, "conn-limit", "c", 1024, "most connections at a time")
	f.IntVarP(&m.threads, "threads", "t", 4, "most processors to use at a time")
	f.BoolVarP(&m.daemon, "daemon", "d", false, "detach, and run as a daemon")
	f.StringVarP(&m.pidFile, "pidfile", "P", "", "write the process's number to `FILE`")
	f.StringVarP(&m.user, "user", "u", "", "become this `USER`, if started by root")
	f.BoolVarP(&m.cores, "enable-coredumps", "r", false, "raise the limit of core files, and dump core at a crash")
	f.BoolVarP(&m.lock, "lock-memory", "k", false, "lock all memory that is in use")
	f.IntVarP(&m.backlog, "listen-backlog", "b", 1024, "most connections that wait to be accepted")
	f.StringVarP(&m.protocol, "protocol", "B", "auto", "`PROTOCOL`: ascii, binary, or auto, which is chosen by the first byte")
	f.StringVarP(&m.authory, "auth-file", "Y", "", "ask text clients to authenticate, by a `FILE` of lines user:password")
	f.BoolVarP(&m.shutdown, "enable-shutdown", "A", false, "allow the command shutdown")
	f.BoolVarP(&m.noCAS, "disable-cas", "C", false, "give items no cas unique")
	f.BoolVarP(&m.noFlush, "disable-flush-all", "F", false, "refuse the command flush_all")
	f.BoolVarP(&m.noDump, "disable-dumping", "X", false, "refuse the commands that list keys")
	f.BoolVarP(&m.noWatch, "disable-watch", "W", false, "refuse the command watch")
	f.StringVarP(&m.delimiter, "prefix-delimiter", "D", "", "`CHAR` that ends the prefix of a key, for stats detail, which is on then (default :)")
	f.StringArrayVarP(&m.extended, "extended", "o", nil, "further `OPTIONS` with commas, see above")
	f.CountVarP(&m.verbose, "verbose", "v", "log more; -vv also logs connections and requests")
	f.BoolVarP(&m.version, "version", "V", false, "print the version, and end")

	f.Float64VarP(&m.factor, "slab-growth-factor", "f", 1.25, "accepted")
	f.IntVarP(&m.chunk, "slab-min-size", "n", 48, "accepted")
	f.BoolVarP(&m.largePages, "enable-largepages", "L", false, "accepted")
	f.IntVarP(&m.requests, "max-reqs-per-event", "R", 20, "accepted")

	// Clients' tests look for these words in the help, to find out what a server can do.
	f.BoolVarP(&m.sasl, "enable-sasl", "S", false, "")
	f.BoolVarP(&m.tls, "enable-ssl", "Z", false, "")
	for _, name := range []string{"enable-sasl", "enable-ssl"} {
		if err := f.MarkHidden(name); err != nil {
			panic(err)
		}
	}

	f.StringVar(&m.store, "store", "", "`DIR` of the store, which is created if it is missing (default see above)")
	f.BoolVar(&m.temporary, "temporary", false, "remove the store at the end, if this run has made it")
	f.BoolVar(&m.debugtime, "debugtime", false, "allow the command debugtime, which sets the clock of this server, for tests")
	f.StringVar(&m.metrics, "metrics", "", "serve metrics by HTTP on `ADDR`, as in :9150: /metrics for Prometheus, /debug/vars; without a host on loopback")
}

const defaultPort = 11211

// memcachedSettings are what the flags mean, checked.
type memcachedSettings struct {
	port       int      // of addresses without one; -1: any
	addresses  []string // host, or host:port; none: no TCP
	onLoopback bool     // the addresses are those of loopback, which are not all on each machine
	socket     string   // absolute path, or ""
	mask       fs.FileMode
	backlog    int
	conns      int
	threads    int
	daemon     bool
	pidFile    string // absolute path, or ""
	user       string
	cores      bool
	lock       bool

	bytes    int64
	itemSize int
	noEvict  bool

	protocol                        string // auto, ascii or binary
	authFile                        string // absolute path, or ""
	noCAS, noFlush, noDump, noWatch bool
	shutdown                        bool
	delimiter                       byte // 0: not given
	verbose                         int
	memoryFile                      string // as it was written
	extended                        memcachedExtended
	region                          *regionChoice
	store, metrics                  string
	temporary, debugtime            bool
}

// loopback are the addresses that a server listens on without -l.
var loopback = []string{"127.0.0.1", "::1"}

// settings checks the flags.
func (m *memcachedFlags) settings(f *pflag.FlagSet) (*memcachedSettings, error) {
	s := &memcachedSettings{
		port: m.port, addresses: m.listen, backlog: m.backlog, conns: m.conns, threads: m.threads,
		daemon: m.daemon, user: m.user, cores: m.cores, lock: m.lock,
		bytes: int64(m.memory) << 20, noEvict: m.noEvict, protocol: m.protocol,
		noCAS: m.noCAS, noFlush: m.noFlush, noDump: m.noDump, noWatch: m.noWatch, shutdown: m.shutdown,
		memoryFile: m.memoryFile, verbose: m.verbose, region: &m.region, temporary: m.temporary, debugtime: m.debugtime,
	}
	for _, check := range []func() error{
		m.region.parse,
		func() error { return m.checkRefused(f) },
		func() error { return m.checkNumbers(f) },
		func() error { return m.itemSize(s) },
		func() error { return m.protocolOf(s, f) },
		func() error { return m.places(s, f) },
		func() error { return s.extended.parse(m.extended) },
	} {
		if err := check(); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// checkRefused returns an error for what memcached has and this server has not.
func (m *memcachedFlags) checkRefused(f *pflag.FlagSet) error {
	switch {
	case m.udp != 0:
		return fmt.Errorf("found -U %d, expected -U 0: UDP is not served", m.udp)
	case m.sasl:
		return fmt.Errorf("found -S, expected no SASL: it is not served (-Y asks text clients to authenticate)")
	case m.tls:
		return fmt.Errorf("found -Z, expected no TLS: it is not served (put a proxy in front)")
	case f.Changed("prefix-delimiter") && len(m.delimiter) != 1:
		return fmt.Errorf("found -D %q, expected one character", m.delimiter)
	}
	return nil
}

// The bounds of the flags that are numbers. The least -m is the least bound of a cache.
const (
	leastMiB  = 2
	mostMiB   = 16 << 20 // the largest store
	mostConns = 1 << 20
)

func (m *memcachedFlags) checkNumbers(f *pflag.FlagSet) error {
	for _, n := range []struct {
		name        string
		n, from, to int
	}{
		{"port", m.port, -1, 65535},
		{"conn-limit", m.conns, 1, mostConns},
		{"threads", m.threads, 1, 1 << 10},
		{"memory-limit", m.memory, leastMiB, mostMiB},
		{"listen-backlog", m.backlog, 1, 1 << 30},
		{"max-reqs-per-event", m.requests, 1, 1 << 30},
		{"slab-min-size", m.chunk, 1, 1 << 30},
	} {
		if n.n < n.from || n.n > n.to {
			return fmt.Errorf("found -%s %d, expected a number from %d to %d", f.Lookup(n.name).Shorthand, n.n, n.from, n.to)
		}
	}
	if !(m.factor > 1) {
		return fmt.Errorf("found -f %v, expected a number greater than 1", m.factor)
	}
	return nil
}

// The bounds of -I.
const (
	leastItem = 1 << 10
	mostItem  = 1 << 30
)

func (m *memcachedFlags) itemSize(s *memcachedSettings) error {
	number, factor := m.item, int64(1)
	if n := len(number); n > 0 {
		switch number[n-1] {
		case 'k', 'K':
			number, factor = number[:n-1], 1<<10
		case 'm', 'M':
			number, factor = number[:n-1], 1<<20
		}
	}
	n, err := strconv.ParseInt(number, 10, 32)
	size := n * factor
	switch {
	case err != nil:
		return fmt.Errorf("found -I %q, expected a number of bytes, or one with k or m", m.item)
	case size < leastItem || size > mostItem:
		return fmt.Errorf("found -I %s, expected at least 1k and at most 1024m", m.item)
	case size > s.bytes/2:
		return fmt.Errorf("found -I %s with -m %d, expected at most half of -m", m.item, m.memory)
	}
	s.itemSize = int(size)
	return nil
}

func (m *memcachedFlags) protocolOf(s *memcachedSettings, f *pflag.FlagSet) (err error) {
	switch m.protocol {
	case "auto", "ascii", "binary":
	default:
		return fmt.Errorf("found -B %q, expected ascii, binary or auto", m.protocol)
	}
	if m.delimiter != "" {
		s.delimiter = m.delimiter[0]
	}
	if m.authory == "" {
		return nil
	}
	if f.Changed("protocol") && m.protocol != "ascii" {
		return fmt.Errorf("found -Y with -B %s, expected -B ascii: the file is for the text protocol", m.protocol)
	}
	s.protocol = "ascii"
	s.authFile, err = filepath.Abs(m.authory)
	return err
}

// places sets addresses and paths. Paths are absolute, because a daemon leaves its directory.
func (m *memcachedFlags) places(s *memcachedSettings, f *pflag.FlagSet) error {
	mask, err := strconv.ParseUint(m.mask, 8, 32)
	if err != nil || mask > 0o777 {
		return fmt.Errorf("found -a %q, expected permission bits in octal, as in 0770", m.mask)
	}
	s.mask = fs.FileMode(mask)
	store := m.store
	if store == "" {
		store = m.memoryFile
	}
	switch {
	case m.port == 0: // with or without -l, as in memcached
		s.addresses = nil
	case len(m.listen) == 0 && (m.socket == "" || f.Changed("port")):
		s.addresses, s.onLoopback = loopback, true
	}
	if s.addresses, err = splitAddresses(s.addresses); err != nil {
		return err
	}
	if m.socket == "" && len(s.addresses) == 0 {
		return fmt.Errorf("found -p 0 without -s, expected a port or a socket to listen on")
	}
	for _, p := range []struct {
		to   *string
		path string
	}{{&s.socket, m.socket}, {&s.pidFile, m.pidFile}, {&s.store, store}} {
		if p.path == "" {
			continue
		}
		if *p.to, err = filepath.Abs(p.path); err != nil {
			return err
		}
	}
	for _, name := range []string{"unix-socket", "pidfile", "store", "memory-file", "auth-file", "user", "metrics"} {
		if flag := f.Lookup(name); flag.Changed && flag.Value.String() == "" {
			return fmt.Errorf("found --%s with an empty value, expected one", name)
		}
	}
	s.metrics, err = metricsAddress(m.metrics)
	return err
}

// splitAddresses splits at semicolons, as memcached does beside commas, and leaves out what is
// there twice.
func splitAddresses(list []string) (all []string, err error) {
	seen := map[string]bool{}
	for _, item := range list {
		for a := range strings.SplitSeq(item, ";") {
			switch {
			case a == "":
				return nil, fmt.Errorf("found an empty address in -l, expected a host, or host:port")
			case !seen[a]:
				all = append(all, a)
			}
			seen[a] = true
		}
	}
	return all, nil
}
