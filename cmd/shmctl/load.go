package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
)

// loaded is the result of load.
type loaded struct {
	Records      int   `json:"records"`
	Maps         int   `json:"maps"` // named ones that were begun
	Transactions int   `json:"transactions"`
	Bytes        int64 `json:"bytes"`
}

func newLoad() *cobra.Command {
	var batch int
	var of mapChoice
	var to writeFlags
	cmd := &cobra.Command{
		Use:   "load STORE [FILE|-]",
		Short: "Write records from JSON Lines",
		Long: `load sets all records of FILE, or of standard input. Each transaction has --batch
records, or fewer if they exceed 16 MiB. If a line is not a record, load ends with
an error that names the line. The batches before stay written, and nothing of the
line's batch is written.

load creates a map that does not exist, with the kind that its line in FILE says. If
the store has a map of that name and of the other kind, load ends with an error.

With --map load writes one map. If FILE begins with a record, the records up to the
first line that begins a map go into that map, and load creates it if necessary: a
hash map or, with --ordered, an ordered one. An empty FILE makes it too. Of the maps
that FILE begins, load takes the one of this name, and skips the others. If FILE has
nothing for the map, the exit code is 3.

load creates a store that does not exist. The store appears when all records are in
it, or not at all: an error or an interrupt leaves nothing. To see the records while
they arrive, create the store first: shmctl load STORE /dev/null. If STORE is an
empty directory, load creates the store after it has read the first batch, and the
store stays after an error.

` + recordHelp,
		Example: "  zcat cache.jsonl.gz | shmctl load /dev/shm/cache\n  shmctl load /dev/shm/cache --map scores --ordered scores.jsonl",
		RunE: func(cmd *cobra.Command, args []string) error {
			path, from, err := storeArguments(cmd, args, "STORE [FILE|-]", 0, 1)
			if err != nil {
				return err
			}
			if batch < 1 {
				return usagef("load: found --batch %d, expected 1 or more", batch)
			}
			if err := of.parse(); err != nil {
				return err
			}
			in, name := cmd.InOrStdin(), "standard input"
			if len(from) == 1 && from[0] != "-" {
				f, err := os.Open(from[0])
				if err != nil {
					return err
				}
				defer func() { _ = f.Close() }()
				in, name = f, from[0]
			}
			var done loaded
			err = interruptible(cmd, func(ctx context.Context) error {
				l := newLoader(untilDone(ctx, in), batch, &of)
				err := l.load(path, to)
				done = l.done
				if input := (inputError{}); errors.As(err, &input) {
					return fmt.Errorf("load: %s: %w (%s)", name, err, l.left())
				}
				return err
			})
			if err != nil {
				return err
			}
			return printResult(cmd, done)
		},
	}
	jsonFlag(cmd)
	cmd.Flags().IntVar(&batch, "batch", 1000, "number of records in a transaction")
	of.flagsToMake(cmd)
	to.add(cmd)
	return cmd
}

func (l loaded) Print(w io.Writer) error {
	what := text.Things(l.Records, "record", "records")
	if l.Maps > 0 {
		what += " and " + text.Things(l.Maps, "map", "maps")
	}
	_, err := fmt.Fprintf(w, "%s, %s, in %s\n", what,
		text.Size(l.Bytes), text.Things(l.Transactions, "transaction", "transactions"))
	return err
}

// inputError is an error about some lines of the input.
type inputError struct {
	error
	lines string
}

func (e inputError) Error() string { return e.lines + ": " + e.error.Error() }
func (e inputError) Unwrap() error { return e.error }
