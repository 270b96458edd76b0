package main

import (
	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/shm"
)

func newSet() *cobra.Command {
	var key64 bool
	var in valueInput
	var of mapChoice
	var to writeFlags
	cmd := &cobra.Command{
		Use:   "set STORE KEY [VALUE|-]",
		Short: "Set the value of a key",
		Long: `set sets the value of KEY to VALUE. Without VALUE, or with -, it reads the value
from standard input up to its end, including the last newline. If standard input is
empty, set changes nothing and the exit code is 1, because the program that should
have written the value has probably failed. To set an empty value use --empty, or ''
as VALUE. Write a VALUE that begins with a dash after --. set creates a store that
does not exist, and a map that does not: a hash map or, with --ordered, an ordered
one.`,
		Example: "  shmctl set /dev/shm/cache greeting hello\n  shmctl set /dev/shm/cache photo <photo.jpg\n  shmctl set /dev/shm/cache -- offset -1\n  shmctl set /dev/shm/cache --map scores --ordered ann 17",
		RunE: func(cmd *cobra.Command, args []string) error {
			path, rest, err := storeArguments(cmd, args, "STORE KEY [VALUE|-]", 1, 2)
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
			value, err := in.read(cmd, path, args, rest)
			if err != nil {
				return err
			}
			return withStore(openOrCreate(to), path, func(s *shm.Store) error {
				m, err := of.findOrMake(s)
				if err != nil {
					return err
				}
				return m.Set(key, value)
			})
		},
	}
	keyFlag(cmd, &key64)
	of.flagsToMake(cmd)
	in.flags(cmd)
	to.add(cmd)
	return cmd
}
