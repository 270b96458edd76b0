package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

// parseMemcached parses a command line of serve memcached.
func parseMemcached(t *testing.T, args ...string) (*memcachedSettings, error) {
	t.Helper()
	var f memcachedFlags
	cmd := &cobra.Command{Use: "memcached"}
	f.add(cmd.Flags())
	f.region.flags(cmd)
	if err := cmd.ParseFlags(args); err != nil {
		return nil, err
	}
	require.Empty(t, cmd.Flags().Args())
	return f.settings(cmd.Flags())
}

// The flags of memcached, short and long, mean what they mean there.
func TestMemcachedFlags(t *testing.T) {
	dir, err := os.Getwd()
	require.NoError(t, err)
	plain := func() *memcachedSettings {
		s, err := parseMemcached(t)
		require.NoError(t, err)
		return s
	}
	base := plain()
	require.Equal(t, []string{"127.0.0.1", "::1"}, base.addresses)
	require.Equal(t, 11211, base.port)
	require.Equal(t, int64(64<<20), base.bytes)
	require.Equal(t, 1<<20, base.itemSize)
	require.Equal(t, fs.FileMode(0o700), base.mask)

	for _, c := range []struct {
		args []string
		want func(s *memcachedSettings)
	}{
		{[]string{"-p", "11212"}, func(s *memcachedSettings) { s.port = 11212 }},
		{[]string{"--port=-1"}, func(s *memcachedSettings) { s.port = -1 }},
		{[]string{"-l", "192.0.2.1,[::1]:7;b"}, func(s *memcachedSettings) {
			s.addresses, s.onLoopback = []string{"192.0.2.1", "[::1]:7", "b"}, false
		}},
		{[]string{"-l", "a", "--listen", "b,a"}, func(s *memcachedSettings) { s.addresses, s.onLoopback = []string{"a", "b"}, false }},
		{[]string{"-s", "sock"}, func(s *memcachedSettings) {
			s.socket, s.addresses, s.onLoopback = filepath.Join(dir, "sock"), nil, false
		}},
		{[]string{"--unix-socket=/a/sock", "-p", "7", "-a", "0770"}, func(s *memcachedSettings) { s.socket, s.port, s.mask = "/a/sock", 7, 0o770 }},
		{[]string{"-s", "/a/sock", "-l", "b"}, func(s *memcachedSettings) {
			s.socket, s.addresses, s.onLoopback = "/a/sock", []string{"b"}, false
		}},
		{[]string{"-s", "/a/sock", "-l", "b", "-p0"}, func(s *memcachedSettings) { s.socket, s.port, s.addresses, s.onLoopback = "/a/sock", 0, nil, false }},
		{[]string{"-U", "0"}, func(*memcachedSettings) {}},
		{[]string{"-m128", "-M"}, func(s *memcachedSettings) { s.bytes, s.noEvict = 128<<20, true }},
		{[]string{"--memory-limit", "2", "--disable-evictions"}, func(s *memcachedSettings) { s.bytes, s.noEvict = 2<<20, true }},
		{[]string{"-I", "1k"}, func(s *memcachedSettings) { s.itemSize = 1 << 10 }},
		{[]string{"-I", "32M"}, func(s *memcachedSettings) { s.itemSize = 32 << 20 }},
		{[]string{"-I", "1024m", "-m", "2048"}, func(s *memcachedSettings) { s.itemSize, s.bytes = 1<<30, 2<<30 }},
		{[]string{"-c", "7", "-t", "9", "-b", "5"}, func(s *memcachedSettings) { s.conns, s.threads, s.backlog = 7, 9, 5 }},
		{[]string{"-dkr", "-P", "/a/pid", "-u", "root"}, func(s *memcachedSettings) {
			s.daemon, s.lock, s.cores, s.pidFile, s.user = true, true, true, "/a/pid", "root"
		}},
		{[]string{"-ACFXW", "-D", "/", "-B", "binary"}, func(s *memcachedSettings) {
			s.shutdown, s.noCAS, s.noFlush, s.noDump, s.noWatch, s.delimiter, s.protocol = true, true, true, true, true, '/', "binary"
		}},
		{[]string{"-Y", "/a/users"}, func(s *memcachedSettings) { s.authFile, s.protocol = "/a/users", "ascii" }},
		{[]string{"-f", "1.08", "-n", "72", "-L", "-R", "1"}, func(*memcachedSettings) {}},
		{[]string{"-v"}, func(s *memcachedSettings) { s.verbose = 1 }},
		{[]string{"-vvv", "--verbose"}, func(s *memcachedSettings) { s.verbose = 4 }},
		{[]string{"-e", "/a/memory"}, func(s *memcachedSettings) { s.store, s.memoryFile = "/a/memory", "/a/memory" }},
		{[]string{"-e", "/a/memory", "--store", "/a/store"}, func(s *memcachedSettings) { s.store, s.memoryFile = "/a/store", "/a/memory" }},
		{[]string{"--temporary", "--debugtime", "--metrics", ":9150"}, func(s *memcachedSettings) {
			s.temporary, s.debugtime, s.metrics = true, true, "127.0.0.1:9150"
		}},
		{[]string{"-o", "modern,idle_timeout=90,,no_maxconns_fast", "-o", "slab_automove"}, func(s *memcachedSettings) {
			s.extended = memcachedExtended{idle: 90 * time.Second, connsWait: true}
		}},
		{[]string{"-o", "no_modern"}, func(s *memcachedSettings) { s.extended.connsWait, s.extended.noCrawler = true, true }},
		{[]string{"-o", "no_modern,maxconns_fast,lru_crawler"}, func(*memcachedSettings) {}},
	} {
		s, err := parseMemcached(t, c.args...)
		require.NoError(t, err, c.args)
		want := plain()
		c.want(want)
		want.region, s.region = nil, nil
		require.Equal(t, want, s, c.args)
	}

	s, err := parseMemcached(t, "--region", "cGFnZXM=", "--name64")
	require.NoError(t, err)
	require.Equal(t, "pages", s.region.name)
}

// What cannot be is refused with what was found and what was expected.
func TestMemcachedFlagsRefused(t *testing.T) {
	for _, c := range []struct {
		args  []string
		found string
	}{
		{[]string{"-c", "0"}, "found -c 0, expected a number from 1"},
		{[]string{"-c", "-1"}, "found -c -1, expected"},
		{[]string{"-c", "x"}, "invalid argument"},
		{[]string{"-t", "0"}, "found -t 0"},
		{[]string{"-R", "0"}, "found -R 0"},
		{[]string{"-n", "0"}, "found -n 0"},
		{[]string{"-b", "0"}, "found -b 0"},
		{[]string{"-f", "1"}, "found -f 1, expected a number greater than 1"},
		{[]string{"-f", "nan"}, "found -f NaN"},
		{[]string{"-p", "65536"}, "found -p 65536"},
		{[]string{"-p", "-2"}, "found -p -2"},
		{[]string{"-p", "0"}, "found -p 0 without -s, expected a port or a socket"},
		{[]string{"-m", "1"}, "found -m 1, expected a number from 2"},
		{[]string{"-I", "1000"}, "found -I 1000, expected at least 1k and at most 1024m"},
		{[]string{"-I", "1025m", "-m", "4096"}, "expected at least 1k and at most 1024m"},
		{[]string{"-I", "256m"}, "found -I 256m with -m 64, expected at most half of -m"},
		{[]string{"-I", "m"}, `found -I "m", expected a number of bytes`},
		{[]string{"-I", ""}, `found -I ""`},
		{[]string{"-U", "11211"}, "expected -U 0: UDP is not served"},
		{[]string{"-S"}, "expected no SASL"},
		{[]string{"-Z"}, "expected no TLS"},
		{[]string{"-B", "http"}, `found -B "http", expected ascii, binary or auto`},
		{[]string{"-Y", "users", "-B", "binary"}, "expected -B ascii"},
		{[]string{"-D", ""}, `found -D "", expected one character`},
		{[]string{"-D", "ab"}, `found -D "ab"`},
		{[]string{"-a", "1777"}, `found -a "1777", expected permission bits in octal`},
		{[]string{"-a", "rw"}, `found -a "rw"`},
		{[]string{"-l", "a,,b"}, "found an empty address in -l"},
		{[]string{"-s", ""}, "found --unix-socket with an empty value"},
		{[]string{"--store", ""}, "found --store with an empty value"},
		{[]string{"--metrics", "9150"}, `found --metrics "9150", expected HOST:PORT`},
		{[]string{"-q"}, "unknown shorthand flag: 'q'"},
		{[]string{"--slabs"}, "unknown flag: --slabs"},
		{[]string{"-o", "sails"}, "found -o sails, expected one of the values"},
		{[]string{"-o", "modern,ext_path=/a:1G"}, "found -o ext_path=/a:1G, expected no ext_*: external storage is not served"},
		{[]string{"-o", "ssl_key=a"}, "TLS is not served"},
		{[]string{"-o", "proxy_config=a"}, "the proxy is not served"},
		{[]string{"-o", "hashpower=11"}, "expected hashpower=N with N from 12 to 32"},
		{[]string{"-o", "hashpower"}, "expected hashpower=N"},
		{[]string{"-o", "slab_automove=3"}, "expected slab_automove=N with N from 0 to 2"},
		{[]string{"-o", "slab_automove_ratio=0"}, "expected slab_automove_ratio=N with N greater than 0"},
		{[]string{"-o", "hash_algorithm=sip"}, "expected hash_algorithm=jenkins or murmur3 or xxh3"},
		{[]string{"-o", "idle_timeout=-1"}, "expected idle_timeout=N"},
		{[]string{"-o", "slab_sizes="}, "expected a value after slab_sizes="},
	} {
		_, err := parseMemcached(t, c.args...)
		require.ErrorContains(t, err, c.found, "%q", c.args)
	}
}

// Each value of -o that is in the help is accepted in the form that is there.
func TestMemcachedSuboptionsOfTheHelp(t *testing.T) {
	numbers := map[string]string{"hashpower": "16", "hash_algorithm": "xxh3", "slab_automove_ratio": "0.5", "slab_sizes": "8-16-32", "slab_automove": "2"}
	for _, name := range append(usedSuboptions(), ignoredSuboptions()...) {
		if cut, ok := cutNumber(name); ok {
			n := numbers[cut]
			if n == "" {
				n = "30"
			}
			name = cut + "=" + n
		}
		_, err := parseMemcached(t, "-o", name)
		require.NoError(t, err)
	}
}

func cutNumber(name string) (string, bool) {
	n := len(name) - len("=N")
	if n > 0 && name[n:] == "=N" {
		return name[:n], true
	}
	return name, false
}

// A server without --store has the same store whenever it has the same addresses.
func TestMemcachedStoreName(t *testing.T) {
	seen := map[string][]string{}
	for _, args := range [][]string{nil, {"-p", "11212"}, {"-s", "/a/sock"}, {"-s", "/b/sock"}, {"-s", "/a/sock", "-p", "11211"}, {"-l", "a"}, {"-l", "b"}} {
		s, err := parseMemcached(t, args...)
		require.NoError(t, err)
		name := s.storeName()
		require.NotContains(t, seen, name, "%q and %q", args, seen[name])
		seen[name] = args
		again, err := parseMemcached(t, append(args, "-m", "128", "-vv")...)
		require.NoError(t, err)
		require.Equal(t, name, again.storeName())
	}
}
