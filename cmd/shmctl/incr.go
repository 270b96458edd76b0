package main

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
	"github.com/seed-869cc763/shmkv/shm"
)

func newIncr() *cobra.Command {
	var key64 bool
	var of mapChoice
	cmd := &cobra.Command{
		Use:   "incr STORE KEY [N]",
		Short: "Add to the number that is the value of a key",
		Long: `incr adds N, or 1, to the value of KEY and prints the sum. The value must be a
decimal integer of at most 64 bits, without a newline. A key that is not in the
store counts as 0. Write a negative N after --. If the value is not such an integer
or the sum is out of range, incr changes nothing and the exit code is 1. incr creates
a map that does not exist, as set does, but no store.

No addition is lost when several processes add to the same key.`,
		Example: "  shmctl incr /dev/shm/cache visits\n  shmctl incr /dev/shm/cache -- stock -3",
		RunE: func(cmd *cobra.Command, args []string) error {
			path, rest, err := storeArguments(cmd, args, "STORE KEY [N]", 1, 2)
			if err != nil {
				return err
			}
			if err := of.parse(); err != nil {
				return err
			}
			key, err := keyArgument(rest[0], key64)
			if err != nil {
				return err
			}
			n := int64(1)
			if len(rest) == 2 {
				if n, err = strconv.ParseInt(rest[1], 10, 64); err != nil {
					return usagef("incr: found N %q, expected a decimal integer of at most 64 bits", rest[1])
				}
			}
			return withStore(openToWrite, path, func(s *shm.Store) error {
				m, err := of.findOrMake(s)
				if err != nil {
					return err
				}
				sum, err := m.Add(key, n)
				if err != nil {
					return fmt.Errorf("incr %s: %w", text.Printable(key), err)
				}
				_, err = fmt.Fprintln(cmd.OutOrStdout(), sum)
				return err
			})
		},
	}
	keyFlag(cmd, &key64)
	of.flagsToMake(cmd)
	return cmd
}
