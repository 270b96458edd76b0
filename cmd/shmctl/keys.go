package main

import (
	"bufio"
	"cmp"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
	"github.com/seed-869cc763/shmkv/shm"
)

func newKeys() *cobra.Command {
	var of mapChoice
	var chosen selection
	var items itemFlag
	cmd := &cobra.Command{
		Use:   "keys STORE",
		Short: "List the keys",
		Long: `keys lists the keys of one version of a map, one on a line, those of a hash map in no
particular order. A key that is empty, begins with a quote or contains characters
that are not printable is quoted as in Go. With --json each line is {"key":"..."}, or
{"key64":"..."} in base64 if the key is not valid UTF-8. With --limit N, keys ends
after any N keys and reads no more entries.

` + fmt.Sprintf(itemsHelp, "size of the value") + "\n\n" + selectionHelp,
		Example: "  shmctl keys /dev/shm/cache --prefix user: | sort\n  shmctl keys /dev/shm/cache --glob '*.jpg'\n  shmctl keys /dev/shm/cache --map log --from 2026-01 --to 2026-02\n  shmctl keys /dev/shm/cache --map sessions --items",
		RunE: func(cmd *cobra.Command, args []string) error {
			path, _, err := storeArguments(cmd, args, "STORE", 0, 0)
			if err != nil {
				return err
			}
			if err := cmp.Or(of.parse(), items.check(&of), chosen.parse(&of)); err != nil {
				return err
			}
			return withStore(openToRead, path, func(s *shm.Store) error {
				out := bufio.NewWriterSize(cmd.OutOrStdout(), 64<<10)
				print := func(key, _ []byte) error { _, err := fmt.Fprintln(out, text.Printable(key)); return err }
				switch {
				case items.on:
					print = items.printer(cmd, out, false)
				case asJSON(cmd):
					records := newRecordWriter(out)
					print = func(key, _ []byte) error { return records.key(key) }
				}
				err := s.View(func(sn *shm.Snapshot) error {
					v, err := of.view(sn)
					if err != nil {
						return err
					}
					return chosen.each(v, print)
				})
				return flush(out, err)
			})
		},
	}
	jsonFlag(cmd)
	of.flags(cmd)
	chosen.flags(cmd)
	items.flags(cmd)
	return cmd
}

// flush flushes w. It returns err, or the error of the flush if err is nil.
func flush(w interface{ Flush() error }, err error) error {
	if e := w.Flush(); err == nil {
		return e
	}
	return err
}
