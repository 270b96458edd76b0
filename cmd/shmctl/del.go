package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
	"github.com/seed-869cc763/shmkv/shm"
)

func newDel() *cobra.Command {
	var key64 bool
	cmd := &cobra.Command{
		Use:   "del STORE KEY...",
		Short: "Delete keys",
		Long: `del deletes the keys, one after the other, each in a transaction of its own: so
it also works in a store that is full. It exits with 3 if one or more were not
there; the others are deleted all the same.`,
		Example: "  shmctl del /dev/shm/cache greeting photo",
		RunE: func(cmd *cobra.Command, args []string) error {
			path, rest, err := storeArguments(cmd, args, "STORE KEY...", 1, unlimited)
			if err != nil {
				return err
			}
			var keys [][]byte
			for _, arg := range rest {
				key, err := keyArgument(arg, key64)
				if err != nil {
					return err
				}
				keys = append(keys, key)
			}
			return withStore(openToWrite, path, func(s *shm.Store) error { return del(s, keys) })
		},
	}
	keyFlag(cmd, &key64)
	return cmd
}

func del(s *shm.Store, keys [][]byte) error {
	var absent [][]byte
	for _, key := range keys {
		existed, err := s.Delete(key)
		if err != nil {
			return err
		}
		if !existed {
			absent = append(absent, key)
		}
	}
	switch len(absent) {
	case 0:
		return nil
	case 1:
		return fmt.Errorf("del %s: %w", text.Printable(absent[0]), shm.ErrNotFound)
	}
	return fmt.Errorf("del %s and %d more: %w", text.Printable(absent[0]), len(absent)-1, shm.ErrNotFound)
}
