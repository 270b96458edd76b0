package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const memcachedHelp = `memcached serves a region of a cache (package shm/cache) by memcached's text, meta and
binary protocols. Its flags are those of memcached 1.6, and --store, --region,
--temporary and --metrics. Go programs that open the region with cache.Open, and other
servers of the same store, work on the same items at the same time. An item that was
acknowledged is in the store: it outlives the end of the server, also by SIGKILL.

Without --store the store is /dev/shm/shmctl-memcached-UID-PORT. With -s or -l, a hash of
the socket's path and the addresses stands in place of PORT. The store stays when the server ends, and
the next server with the same flags finds it warm. With --temporary, a store that this
run has made is removed at its end, unless another process has it open. Without --store
it has a new name then.

The server listens on the port 11211 of the loopback addresses, unlike memcached, which
listens on all addresses: -l names others. With -s it listens on a unix socket, and on
TCP only if -l or -p is given too. A socket file that no server listens on is replaced.

INT and TERM end the server within a second with status 0. USR1 lets it answer first, for
up to ten seconds, what it has received. HUP reads the file of -Y again.

Command lines for memcached work. These flags change nothing: -f, -n, -L, -R, and these
values of -o:
`

func newServeMemcached() *cobra.Command {
	var f memcachedFlags
	cmd := &cobra.Command{
		Use:   "memcached",
		Short: "Serve a cache by memcached's protocols",
		Long:  memcachedHelp + foldWords(ignoredSuboptions(), 85) + ".\nOther values of -o: " + strings.Join(usedSuboptions(), ", ") + ".",
		Example: "  shmctl serve memcached -m 1024 -c 4096\n" +
			"  shmctl serve memcached --store /dev/shm/pages -s /run/pages.sock -a 0770 -d -P /run/pages.pid\n" +
			"  shmctl serve memcached -l 127.0.0.1,192.0.2.7:11212 -Y /etc/pages.users",
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.version {
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "shmctl %s\nserves the protocols of memcached %s\n", version(), memcachedVersion)
				return err
			}
			if len(args) > 0 {
				return usagef("serve memcached: found the argument %q, expected flags only", args[0])
			}
			s, err := f.settings(cmd.Flags())
			if err != nil {
				return usageError{fmt.Errorf("serve memcached: %w", err)}
			}
			ctx := cmd.Context()
			if ctx == nil {
				ctx = context.Background()
			}
			if err := serveMemcached(ctx, s); err != nil {
				return fmt.Errorf("serve memcached: %w", err)
			}
			return nil
		},
	}
	f.add(cmd.Flags())
	f.region.flags(cmd)
	for _, name := range []string{"store", "memory-file"} {
		if err := cmd.MarkFlagDirname(name); err != nil {
			panic(err)
		}
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		if unknown := new(pflag.NotExistError); errors.As(err, &unknown) {
			return fmt.Errorf("serve memcached: %w, expected a flag of shmctl serve memcached --help", err)
		}
		return fmt.Errorf("serve memcached: %w", err)
	})
	return cmd
}

// foldWords joins words by commas, in lines of at most this width.
func foldWords(words []string, width int) string {
	var b strings.Builder
	column := 0
	for i, w := range words {
		if i < len(words)-1 {
			w += ","
		}
		switch {
		case column == 0:
		case column+1+len(w) > width:
			b.WriteByte('\n')
			column = 0
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(w)
		column += len(w)
	}
	return b.String()
}
