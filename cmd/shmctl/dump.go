package main

import (
	"bufio"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/shm"
)

func newDump() *cobra.Command {
	return &cobra.Command{
		Use:   "dump STORE [FILE|-]",
		Short: "Write all records as JSON Lines",
		Long: `dump writes all records of one version of the store to FILE, which it
overwrites, or to standard output, in no order. Others may write to the store
meanwhile.

` + recordHelp,
		Example: "  shmctl dump /dev/shm/cache | gzip >cache.jsonl.gz",
		Args:    arguments("STORE [FILE|-]", 1, 2),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			s, err := openToRead(args[0])
			if err != nil {
				return err
			}
			defer closing(s, &err)
			if len(args) == 1 || args[1] == "-" {
				return dump(s, cmd.OutOrStdout())
			}
			f, err := os.Create(args[1])
			if err != nil {
				return err
			}
			err = dump(s, f)
			if e := f.Close(); err == nil {
				err = e
			}
			return err
		},
	}
}

func dump(s *shm.Store, w io.Writer) error {
	out := bufio.NewWriterSize(w, 256<<10)
	records := newRecordWriter(out)
	err := s.View(func(sn *shm.Snapshot) error { return each(sn, records.record) })
	return flush(out, err)
}
