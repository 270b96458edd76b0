package main

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
	"github.com/seed-869cc763/shmkv/shm"
)

func newDel() *cobra.Command {
	var key64 bool
	var match keyMatch
	cmd := &cobra.Command{
		Use:   "del STORE [KEY...]",
		Short: "Delete keys",
		Long: `del deletes the keys, one after the other, each in a transaction of its own: so
it also works in a store that is full. It exits with 3 if one or more were not
there; the others are deleted all the same.

Instead of KEY, --prefix or --glob choose keys of one version: del reads all entries
of that version, and then deletes the chosen keys, also those that have got another
value since. Keys that were not in that version stay. It prints how many it has
deleted, and exits with 3 if none is chosen. An empty prefix is refused, and so is a
pattern of nothing but *. To see what would be deleted, call keys with the same
flags.

` + matchHelp,
		Example: "  shmctl del /dev/shm/cache greeting photo\n  shmctl del /dev/shm/cache --prefix user:17:\n  shmctl del /dev/shm/cache --glob 'user:*:photo'",
		RunE: func(cmd *cobra.Command, args []string) error {
			least, most := 1, unlimited
			if match.given() {
				least, most = 0, 0
			}
			path, rest, err := storeArguments(cmd, args, "STORE KEY..., or STORE with --prefix or --glob", least, most)
			if err != nil {
				return err
			}
			switch {
			case cmd.Flags().Changed("prefix") && match.prefix == "":
				return usagef("del: found an empty --prefix, expected one that does not choose all keys")
			case match.prefix == "" && match.glob != "" && strings.Trim(match.glob, "*") == "":
				return usagef("del: found --glob %q, expected one that does not choose all keys", match.glob)
			}
			if err := match.compile(); err != nil {
				return err
			}
			keys, err := keyArguments(rest, key64)
			if err != nil {
				return err
			}
			return withStore(openToWrite, path, func(s *shm.Store) error {
				if match.given() {
					n, err := delMatching(s, match)
					if err != nil {
						return err
					}
					_, err = fmt.Fprintln(cmd.OutOrStdout(), text.Things(n, "key", "keys")+" deleted")
					return err
				}
				return del(s, keys)
			})
		},
	}
	keyFlag(cmd, &key64)
	match.flags(cmd)
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
	return absentKeys("del", absent)
}

// delMatching returns how many keys it has deleted. It holds no snapshot meanwhile:
// that would keep the space of all that is deleted.
func delMatching(s *shm.Store, match keyMatch) (deleted int, err error) {
	var keys [][]byte
	err = s.View(func(sn *shm.Snapshot) error {
		return match.each(sn, func(key, _ []byte) error {
			keys = append(keys, bytes.Clone(key))
			return nil
		})
	})
	if err != nil {
		return 0, err
	}
	if len(keys) == 0 {
		return 0, fmt.Errorf("del: no key matches: %w", shm.ErrNotFound)
	}
	for _, key := range keys {
		existed, err := s.Delete(key)
		if err != nil {
			return deleted, fmt.Errorf("del: %d of %d keys deleted, then: %w", deleted, len(keys), err)
		}
		if existed {
			deleted++
		}
	}
	return deleted, nil
}

// absentKeys is an error that names the keys that a verb has not found, if any.
func absentKeys(verb string, absent [][]byte) error {
	switch len(absent) {
	case 0:
		return nil
	case 1:
		return fmt.Errorf("%s %s: %w", verb, text.Printable(absent[0]), shm.ErrNotFound)
	}
	return fmt.Errorf("%s %s and %d more: %w", verb, text.Printable(absent[0]), len(absent)-1, shm.ErrNotFound)
}
