package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
	"github.com/seed-869cc763/shmkv/shm"
)

func newDrop() *cobra.Command {
	var in64 bool
	cmd := &cobra.Command{
		Use:   "drop STORE NAME",
		Short: "Drop a named map",
		Long: `drop drops the named map NAME, of either kind, with all its entries. It takes one
short commit, also in a full store. The space comes back through later commits, or
through shmctl compact. The exit code is 3 if there is no such map.`,
		Example: "  shmctl drop /dev/shm/cache scores",
		RunE: func(cmd *cobra.Command, args []string) error {
			path, rest, err := storeArguments(cmd, args, "STORE NAME", 1, 1)
			if err != nil {
				return err
			}
			name, err := nameArgument(rest[0], in64)
			if err != nil {
				return err
			}
			return withStore(openToWrite, path, func(s *shm.Store) error {
				existed, err := s.DropMap(name)
				if err == nil && !existed {
					err = fmt.Errorf("drop %s: %w", text.Printable([]byte(name)), errNoMap)
				}
				return err
			})
		},
	}
	nameFlag(cmd, &in64)
	return cmd
}
