package main

import (
	"bufio"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
	"github.com/seed-869cc763/shmkv/shm"
)

var errEnoughKeys = errors.New("enough keys")

func newKeys() *cobra.Command {
	var limit int
	var match keyMatch
	cmd := &cobra.Command{
		Use:   "keys STORE",
		Short: "List the keys",
		Long: `keys lists the keys of one version of the store, one on a line, in no particular
order. A key that is empty, begins with a quote or contains characters that are not
printable is quoted as in Go. With --json each line is {"key":"..."}, or
{"key64":"..."} in base64 if the key is not valid UTF-8. With --limit N, keys ends
after any N keys and reads no more entries.

` + matchHelp,
		Example: "  shmctl keys /dev/shm/cache --prefix user: | sort\n  shmctl keys /dev/shm/cache --glob '*.jpg'",
		RunE: func(cmd *cobra.Command, args []string) error {
			path, _, err := storeArguments(cmd, args, "STORE", 0, 0)
			if err != nil {
				return err
			}
			if limit < 0 {
				return usagef("keys: found --limit %d, expected 0 or more", limit)
			}
			if err := match.compile(); err != nil {
				return err
			}
			return withStore(openToRead, path, func(s *shm.Store) error {
				out := bufio.NewWriterSize(cmd.OutOrStdout(), 64<<10)
				print := func(key []byte) error { _, err := fmt.Fprintln(out, text.Printable(key)); return err }
				if asJSON(cmd) {
					print = newRecordWriter(out).key
				}
				err := s.View(func(sn *shm.Snapshot) error {
					left := limit
					return match.each(sn, func(key, _ []byte) error {
						if err := print(key); err != nil {
							return err
						}
						if left--; left == 0 {
							return errEnoughKeys
						}
						return nil
					})
				})
				if errors.Is(err, errEnoughKeys) {
					err = nil
				}
				return flush(out, err)
			})
		},
	}
	jsonFlag(cmd)
	cmd.Flags().IntVar(&limit, "limit", 0, "end after `N` keys (0 = all)")
	match.flags(cmd)
	return cmd
}

// each calls fn for all entries of a snapshot, and verifies their number.
func each(sn *shm.Snapshot, fn func(key, value []byte) error) error {
	seen := 0
	for key, value := range sn.All() {
		if err := fn(key, value); err != nil {
			return err
		}
		seen++
	}
	if err := sn.Err(); err != nil {
		return err
	}
	if seen != sn.Len() {
		return fmt.Errorf("%w: found %d entries in version %d, expected %d (see shmctl check)", shm.ErrCorrupt, seen, sn.Version(), sn.Len())
	}
	return nil
}

// flush flushes w. It returns err, or the error of the flush if err is nil.
func flush(w interface{ Flush() error }, err error) error {
	if e := w.Flush(); err == nil {
		return e
	}
	return err
}
