package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
	"github.com/seed-869cc763/shmkv/shm"
)

// batchBytes is the size in bytes at which a batch ends before it has its number of
// records, so that large values do not make large transactions.
const batchBytes = 16 << 20

// loaded is the result of load.
type loaded struct {
	Records      int   `json:"records"`
	Transactions int   `json:"transactions"`
	Bytes        int64 `json:"bytes"`
}

func newLoad() *cobra.Command {
	var batch int
	var maxSize bytesValue
	cmd := &cobra.Command{
		Use:   "load STORE [FILE|-]",
		Short: "Write records from JSON Lines",
		Long: `load sets all records of FILE, or of standard input. Each transaction has --batch
records, or fewer if they exceed 16 MiB. If a line is not a record, load ends with
an error that names the line. The batches before stay written, and nothing of the
line's batch is written.

load creates a store that does not exist. The store appears when all records are in
it, or not at all: an error or an interrupt leaves nothing. To see the records while
they arrive, create the store first: shmctl load STORE /dev/null. If STORE is an
empty directory, load creates the store after it has read the first batch, and the
store stays after an error.

` + recordHelp,
		Example: "  zcat cache.jsonl.gz | shmctl load /dev/shm/cache",
		RunE: func(cmd *cobra.Command, args []string) error {
			path, from, err := storeArguments(cmd, args, "STORE [FILE|-]", 0, 1)
			if err != nil {
				return err
			}
			if batch < 1 {
				return usagef("load: found --batch %d, expected 1 or more", batch)
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
				l := newLoader(untilDone(ctx, in), batch)
				err := l.load(path, maxSize)
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
	maxSizeFlag(cmd, &maxSize)
	return cmd
}

func (l loaded) Print(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%s, %s, in %s\n", text.Things(l.Records, "record", "records"),
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

type record struct{ key, value []byte }

// A loader writes records to a store, one batch after the other.
type loader struct {
	lines *bufio.Reader
	most  int // records in a batch

	batch []record // read and not yet written
	bytes int64    // of keys and values in batch
	line  int      // number of the last line read
	end   bool     // the input ends after batch

	done     loaded
	creating bool // the store is new, and an error removes it
}

func newLoader(in io.Reader, most int) *loader {
	return &loader{lines: bufio.NewReaderSize(in, 256<<10), most: most}
}

// left describes the records that are in the store after an error.
func (l *loader) left() string {
	if l.creating {
		return "no store was made"
	}
	return text.Things(l.done.Records, "record", "records") + " before it loaded"
}

// load reads a first batch before it opens or creates the store at path, so that invalid
// input creates no store.
func (l *loader) load(path string, maxSize bytesValue) error {
	err := l.read()
	_, statErr := os.Lstat(path)
	l.creating = errors.Is(statErr, fs.ErrNotExist)
	switch {
	case err != nil:
		return err
	case l.creating:
		return shm.Create(path, &shm.Options{MaxSize: int64(maxSize)}, l.fill)
	}
	return withStore(openOrCreate(maxSize), path, l.fill)
}

// fill writes the first batch, which load has read, and reads and writes the others.
func (l *loader) fill(s *shm.Store) error {
	for {
		if err := l.write(s); err != nil || l.end {
			return err
		}
		if err := l.read(); err != nil {
			return err
		}
	}
}

// read reads a batch of records.
func (l *loader) read() error {
	l.batch, l.bytes = l.batch[:0], 0
	for !l.end && len(l.batch) < l.most && l.bytes < batchBytes {
		l.line++
		fail := func(err error) error { return inputError{err, fmt.Sprintf("line %d", l.line)} }
		line, err := l.lines.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return fail(err)
		}
		if l.end = err != nil; l.end && len(line) == 0 {
			l.line--
			break
		}
		key, value, err := parseRecord(bytes.TrimRight(line, "\r\n"))
		if err != nil {
			return fail(err)
		}
		l.batch = append(l.batch, record{key, value})
		l.bytes += int64(len(key) + len(value))
	}
	return nil
}

// write writes the batch in one transaction.
func (l *loader) write(s *shm.Store) error {
	if len(l.batch) == 0 {
		return nil
	}
	err := s.Update(func(tx *shm.Tx) error {
		for _, r := range l.batch {
			if err := tx.Set(r.key, r.value); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return inputError{err, fmt.Sprintf("lines %d to %d", l.line-len(l.batch)+1, l.line)}
	}
	l.done.Records += len(l.batch)
	l.done.Bytes += l.bytes
	l.done.Transactions++
	return nil
}
