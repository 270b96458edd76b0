package main

import (
	"bufio"
	"cmp"
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/shm"
)

func newDump() *cobra.Command {
	var of mapChoice
	var match keyMatch
	cmd := &cobra.Command{
		Use:   "dump STORE [FILE|-]",
		Short: "Write all records as JSON Lines",
		Long: `dump writes all records of one version of the store to FILE, or to standard
output: those of the unnamed map, then those of each named map, by their names. The
records of a hash map are in no particular order. Others may write to the store
meanwhile. FILE appears when all of it is on disk, or not at all, and replaces an
existing file. With --map dump writes that map only. With --prefix or --glob it
writes only the records whose keys match, and the maps that have some.

` + matchHelp + "\n\n" + recordHelp,
		Example: "  shmctl dump /dev/shm/cache | gzip >cache.jsonl.gz\n  shmctl dump /dev/shm/cache --prefix user: users.jsonl\n  shmctl dump /dev/shm/cache --glob '*.jpg' photos.jsonl\n  shmctl dump /dev/shm/cache --map scores scores.jsonl",
		RunE: func(cmd *cobra.Command, args []string) error {
			path, to, err := storeArguments(cmd, args, "STORE [FILE|-]", 0, 1)
			if err != nil {
				return err
			}
			if err := cmp.Or(of.parse(), match.compile()); err != nil {
				return err
			}
			return withStore(openToRead, path, func(s *shm.Store) error {
				if len(to) == 0 || to[0] == "-" {
					return dump(s, cmd.OutOrStdout(), &of, &match)
				}
				return interruptible(cmd, func(ctx context.Context) error {
					return writeFile(ctx, to[0], func(w io.Writer) error { return dump(s, w, &of, &match) })
				})
			})
		},
	}
	of.flags(cmd)
	match.flags(cmd)
	return cmd
}

// dump writes the records of the chosen map, or else of all maps.
func dump(s *shm.Store, w io.Writer, of *mapChoice, match *keyMatch) error {
	out := bufio.NewWriterSize(w, 256<<10)
	records := newRecordWriter(out)
	err := s.View(func(sn *shm.Snapshot) error {
		if of.given() {
			v, err := of.view(sn)
			if err != nil {
				return err
			}
			return dumpMap(records, v, match)
		}
		views, err := viewsOf(sn)
		if err != nil {
			return err
		}
		if len(views) == 1 { // without a line that begins the unnamed map
			return match.each(views[0], records.record)
		}
		for _, v := range views {
			if err := dumpMap(records, v, match); err != nil {
				return err
			}
		}
		return nil
	})
	return flush(out, err)
}

// dumpMap writes the line that begins a map, and its records. If keys are to match, it
// writes the line only if one does.
func dumpMap(records recordWriter, v mapView, match *keyMatch) error {
	begun := false
	begin := func() error {
		if begun {
			return nil
		}
		begun = true
		return records.begin(v)
	}
	if !match.given() {
		if err := begin(); err != nil {
			return err
		}
	}
	return match.each(v, func(key, value []byte) error {
		if err := begin(); err != nil {
			return err
		}
		return records.record(key, value)
	})
}
