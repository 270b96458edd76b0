package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const countdHelp = `countd serves counters (package shm/counter) by countd's protocol. A client sends
increments of 520 bytes: the increment as a little-endian int64, the keyspace in 256
bytes and the key in 256 bytes, both padded with NULs. The server answers each with WIN
once it is committed. On a second port or socket a client asks for counters in the order
of their counts, by messages of 272 bytes: the keyspace, the offset and the length, both
little-endian uint64. The answer is the number of rows, and in each row the count and the
key. docs/countd.md describes the protocol.

Go programs that open the store, other servers of the store and shmctl counters work on
the same counters at the same time. An increment that was answered is in the store,
whatever ends the server.

The server listens on the loopback addresses, for increments on port 48879 and for reads
on the next one: -l names other addresses. With -s it listens on a unix socket, and for
reads on one of the same name with .read behind it, and on TCP only if -l or -p is given
too. A socket file that no server listens on is replaced.

INT and TERM end the server within a second with status 0. What has arrived is answered
first.`

func newServeCountd() *cobra.Command {
	var f countdFlags
	cmd := &cobra.Command{
		Use:   "countd",
		Short: "Serve counters by countd's protocol",
		Long:  countdHelp,
		Example: "  shmctl serve countd --store /dev/shm/counts\n" +
			"  shmctl serve countd --store /dev/shm/counts -s /run/countd.sock -a 0770 -d -P /run/countd.pid\n" +
			"  shmctl serve countd --store /var/lib/counts -l 192.0.2.7 -p 48879 --key-bytes 64",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("serve countd: found the argument %q, expected flags only", args[0])
			}
			s, err := f.settings(cmd.Flags())
			if err != nil {
				return usageError{fmt.Errorf("serve countd: %w", err)}
			}
			ctx := cmd.Context()
			if ctx == nil {
				ctx = context.Background()
			}
			if err := serveCountd(ctx, s); err != nil {
				return fmt.Errorf("serve countd: %w", err)
			}
			return nil
		},
	}
	f.add(cmd.Flags())
	if err := cmd.MarkFlagDirname("store"); err != nil {
		panic(err)
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		if unknown := new(pflag.NotExistError); errors.As(err, &unknown) {
			return fmt.Errorf("serve countd: %w, expected a flag of shmctl serve countd --help", err)
		}
		return fmt.Errorf("serve countd: %w", err)
	})
	return cmd
}
