package main

import (
	"strconv"

	"github.com/spf13/cobra"
)

func newServe() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve PROTOCOL",
		Short: "Serve a store to programs in any language",
		Long: `serve serves a store by the protocol of an existing server, so that the clients of
that server can use the store. Programs that open the store with package shm see the
same data at the same time, and so do other servers of the same store.`,
		Example: "  shmctl serve memcached -m 1024\n  shmctl serve memcached --store /dev/shm/pages -s /run/pages.sock -d\n" +
			"  shmctl serve countd --store /dev/shm/counts\n  shmctl serve durus --file /var/lib/app/objects",
		Args: cobra.ArbitraryArgs,
	}
	cmd.AddCommand(newServeCountd(), newServeDurus(), newServeMemcached())
	cmd.RunE = func(_ *cobra.Command, args []string) error { // for an unknown protocol
		found := "no protocol"
		if len(args) > 0 {
			found = strconv.Quote(args[0])
		}
		return usagef("serve: found %s, expected countd, durus or memcached (see shmctl serve --help)", found)
	}
	return cmd
}
