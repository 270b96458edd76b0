package main

import (
	"bufio"
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/shm"
)

func newDump() *cobra.Command {
	var match keyMatch
	cmd := &cobra.Command{
		Use:   "dump STORE [FILE|-]",
		Short: "Write all records as JSON Lines",
		Long: `dump writes all records of one version of the store to FILE, or to standard
output, in no particular order. Others may write to the store meanwhile. FILE appears
when all of it is on disk, or not at all, and replaces an existing file. With --prefix
or --glob dump writes only the records whose keys match.

` + matchHelp + "\n\n" + recordHelp,
		Example: "  shmctl dump /dev/shm/cache | gzip >cache.jsonl.gz\n  shmctl dump /dev/shm/cache --prefix user: users.jsonl\n  shmctl dump /dev/shm/cache --glob '*.jpg' photos.jsonl",
		RunE: func(cmd *cobra.Command, args []string) error {
			path, to, err := storeArguments(cmd, args, "STORE [FILE|-]", 0, 1)
			if err != nil {
				return err
			}
			if err := match.compile(); err != nil {
				return err
			}
			return withStore(openToRead, path, func(s *shm.Store) error {
				if len(to) == 0 || to[0] == "-" {
					return dump(s, cmd.OutOrStdout(), match)
				}
				return interruptible(cmd, func(ctx context.Context) error {
					return writeFile(ctx, to[0], func(w io.Writer) error { return dump(s, w, match) })
				})
			})
		},
	}
	match.flags(cmd)
	return cmd
}

func dump(s *shm.Store, w io.Writer, match keyMatch) error {
	out := bufio.NewWriterSize(w, 256<<10)
	records := newRecordWriter(out)
	err := s.View(func(sn *shm.Snapshot) error { return match.each(sn, records.record) })
	return flush(out, err)
}
