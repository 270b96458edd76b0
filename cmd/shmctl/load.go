package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/shm"
)

// batchBytes ends a batch before its records are as many as asked for, so that
// large values do not make large transactions.
const batchBytes = 16 << 20

// loaded is what load did.
type loaded struct {
	Records      int   `json:"records"`
	Transactions int   `json:"transactions"`
	Bytes        int64 `json:"bytes"`
}

func newLoad() *cobra.Command {
	var asJSON bool
	var batch int
	var maxSize bytesValue
	cmd := &cobra.Command{
		Use:   "load STORE [FILE|-]",
		Short: "Write records from JSON Lines",
		Long: `load sets all records of FILE, or of standard input, in transactions of --batch
records, or fewer if they are large. A line that is not a record ends it with
an error that names the line: nothing of that line's batch is written, and the
batches before it are. A store that does not exist is created.

` + recordHelp,
		Example: "  zcat cache.jsonl.gz | shmctl load /dev/shm/cache",
		Args:    arguments("STORE [FILE|-]", 1, 2),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if batch < 1 {
				return usagef("load: found --batch %d, expected 1 or more", batch)
			}
			in, name := cmd.InOrStdin(), "standard input"
			if len(args) == 2 && args[1] != "-" {
				f, err := os.Open(args[1])
				if err != nil {
					return err
				}
				defer func() { _ = f.Close() }()
				in, name = f, args[1]
			}
			s, err := shm.Open(args[0], &shm.Options{MaxSize: int64(maxSize)})
			if err != nil {
				return err
			}
			defer closing(s, &err)
			done, err := load(s, in, batch)
			if err != nil {
				return fmt.Errorf("load: %s: %w (%s before it loaded)", name, err, things(done.Records, "record", "records"))
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), done)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s, %s, in %s\n", things(done.Records, "record", "records"),
				size(done.Bytes), things(done.Transactions, "transaction", "transactions"))
			return err
		},
	}
	jsonFlag(cmd, &asJSON)
	cmd.Flags().IntVar(&batch, "batch", 1000, "records in a transaction")
	maxSizeFlag(cmd, &maxSize)
	return cmd
}

// load sets the records of in, and tells also with an error what it has done.
func load(s *shm.Store, in io.Reader, batch int) (loaded, error) {
	type record struct{ key, value []byte }
	var (
		done  loaded
		queue []record
		sum   int64 // bytes in the queue
		first = 1
	)
	commit := func() error {
		err := s.Update(func(tx *shm.Tx) error {
			for _, r := range queue {
				if err := tx.Set(r.key, r.value); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("lines %d to %d: %w", first, first+len(queue)-1, err)
		}
		done.Records += len(queue)
		done.Bytes += sum
		done.Transactions++
		first += len(queue)
		queue, sum = queue[:0], 0
		return nil
	}
	lines := bufio.NewReaderSize(in, 256<<10)
	for number := 1; ; number++ {
		line, err := lines.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return done, fmt.Errorf("line %d: %w", number, err)
		}
		end := err != nil
		if end && len(line) == 0 {
			break
		}
		key, value, err := parseRecord(bytes.TrimRight(line, "\r\n"))
		if err != nil {
			return done, fmt.Errorf("line %d: %w", number, err)
		}
		queue = append(queue, record{key, value})
		sum += int64(len(key) + len(value))
		if len(queue) == batch || sum >= batchBytes {
			if err := commit(); err != nil {
				return done, err
			}
		}
		if end {
			break
		}
	}
	if len(queue) > 0 {
		return done, commit()
	}
	return done, nil
}
