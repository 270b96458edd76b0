package main

import (
	"bytes"
	"cmp"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
	"github.com/seed-869cc763/shmkv/shm"
)

func newDel() *cobra.Command {
	var key64 bool
	var of mapChoice
	var match keyMatch
	cmd := &cobra.Command{
		Use:   "del STORE [KEY...]",
		Short: "Delete keys",
		Long: `del deletes the keys one after the other, each in its own transaction, so that it
also works in a full store. The exit code is 3 if one or more keys did not exist.
del deletes the other keys in any case.

--prefix and --glob select keys instead of KEY. del reads the entries of one version
and then deletes the selected keys, including those that got another value in the
meantime. Keys that were added later stay. del prints the number of deleted keys. The
exit code is 3 if no key matches. del refuses an empty prefix and a pattern that
consists only of *. To see which keys del would delete, run keys with the same flags.

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
			if err := cmp.Or(of.parse(), match.compile()); err != nil {
				return err
			}
			keys, err := keyArguments(rest, key64)
			if err != nil {
				return err
			}
			return withStore(openToWrite, path, func(s *shm.Store) error {
				m, err := of.find(s)
				if err != nil {
					return err
				}
				if match.given() {
					n, err := delMatching(s, m, &of, &match)
					if err != nil {
						return err
					}
					_, err = fmt.Fprintln(cmd.OutOrStdout(), text.Things(n, "key", "keys")+" deleted")
					return err
				}
				return del(m, keys)
			})
		},
	}
	keyFlag(cmd, &key64)
	of.flags(cmd)
	match.flags(cmd)
	return cmd
}

func del(m keyed, keys [][]byte) error {
	var absent [][]byte
	for _, key := range keys {
		existed, err := m.Delete(key)
		if err != nil {
			return err
		}
		if !existed {
			absent = append(absent, key)
		}
	}
	return absentKeys("del", absent)
}

// delMatching deletes the matching keys and returns their number. It closes its snapshot
// before it deletes, because a snapshot would keep the space of the deleted entries.
func delMatching(s *shm.Store, m keyed, of *mapChoice, match *keyMatch) (deleted int, err error) {
	var keys [][]byte
	err = s.View(func(sn *shm.Snapshot) error {
		v, err := of.view(sn)
		if err != nil {
			return err
		}
		return match.each(v, func(key, _ []byte) error {
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
		existed, err := m.Delete(key)
		if err != nil {
			return deleted, fmt.Errorf("del: %d of %d keys deleted, then: %w", deleted, len(keys), err)
		}
		if existed {
			deleted++
		}
	}
	return deleted, nil
}

// absentKeys returns an error that names the first of the absent keys, or nil if there
// are none.
func absentKeys(verb string, absent [][]byte) error {
	switch len(absent) {
	case 0:
		return nil
	case 1:
		return fmt.Errorf("%s %s: %w", verb, text.Printable(absent[0]), shm.ErrNotFound)
	}
	return fmt.Errorf("%s %s and %d more: %w", verb, text.Printable(absent[0]), len(absent)-1, shm.ErrNotFound)
}
