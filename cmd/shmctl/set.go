package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
	"github.com/seed-869cc763/shmkv/shm"
)

func newSet() *cobra.Command {
	var key64, empty bool
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
			if os.Getenv(storeVariable) != "" && len(args) == 2 && isTerminal(cmd.InOrStdin()) {
				return usagef("set: found STORE %s, KEY %s and no VALUE, expected STORE KEY VALUE also where %s is set, or - as VALUE to type it",
					text.Printable([]byte(path)), text.Printable([]byte(rest[0])), storeVariable)
			}
			if err := of.parse(); err != nil {
				return err
			}
			key, err := keyArgument(rest[0], key64)
			if err != nil {
				return err
			}
			var value []byte
			if len(rest) == 2 && rest[1] != "-" {
				if empty {
					return usagef("set: found VALUE and --empty, expected one of them")
				}
				value = []byte(rest[1])
			} else if value, err = io.ReadAll(io.LimitReader(cmd.InOrStdin(), shm.MaxValue+1)); err != nil {
				return fmt.Errorf("reading the value: %w", err)
			} else if len(value) == 0 && !empty {
				return fmt.Errorf("set %s: found nothing on standard input, expected a value (--empty, or '' as VALUE, sets an empty one)", text.Printable(key))
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
	cmd.Flags().BoolVar(&empty, "empty", false, "set an empty value if standard input is empty")
	to.add(cmd)
	return cmd
}
