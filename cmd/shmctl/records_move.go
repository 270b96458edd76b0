package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/record"
	"github.com/seed-869cc763/shmkv/shm/record/filestorage"
)

// movedRecords is the result of record migrate and record export.
type movedRecords struct {
	From    string `json:"from"`
	To      string `json:"to"`
	Records int64  `json:"records"`
	Entries int64  `json:"entries,omitempty"` // of a FileStorage file, older ones of an id too
}

func (m movedRecords) Print(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%s in %s\n", text.Things(m.Records, "record", "records"), text.Printable([]byte(m.To)))
	return err
}

func newRecordMigrate() *cobra.Command {
	var maxSize bytesValue
	var torn bool
	cmd := &cobra.Command{
		Use:   "migrate STORE SOURCE",
		Short: "Bring records from a FileStorage file of Durus or another store",
		Long: `migrate copies all records of SOURCE to STORE, with the ids that they have. SOURCE is a
FileStorage file of Durus, in the format SHELF-1 or DFS20, or the directory of a store.
It is only read. STORE is made if it is missing. It must not have been used for records
before, but by a migrate that was interrupted or killed: another one of the same SOURCE
then goes through all records again, and copies those that are missing. Until it has
ended, STORE serves no clients and collects nothing.

A FileStorage file whose last transaction is incomplete, as after a crash, is refused
when migrate has got there. With --torn that transaction is left out.`,
		Example: "  shmctl record migrate /var/lib/app/objects app.durus",
		RunE: func(cmd *cobra.Command, args []string) error {
			path, rest, err := storeArguments(cmd, args, "STORE SOURCE", 1, 1)
			if err != nil {
				return err
			}
			open := func(path string) (*shm.Store, error) { return shm.Open(path, &shm.Options{MaxSize: int64(maxSize)}) }
			return withRecords(open, path, func(st *record.Storage) error {
				return interruptible(cmd, func(ctx context.Context) error {
					m, err := migrate(ctx, cmd, st, rest[0], torn)
					if err != nil {
						return err
					}
					m.To = path
					return printResult(cmd, m)
				})
			})
		},
	}
	jsonFlag(cmd)
	cmd.Flags().Var(&maxSize, "max-size", "maximum size of STORE if it is made, as in 512MiB (default 64GiB)")
	cmd.Flags().BoolVar(&torn, "torn", false, "leave out an incomplete transaction at the end of a file")
	return cmd
}

// migrate copies all records of a file or a store.
func migrate(ctx context.Context, cmd *cobra.Command, st *record.Storage, source string, torn bool) (m movedRecords, err error) {
	bar := newProgress(cmd.ErrOrStderr(), "migrate")
	defer bar.clear()
	f, err := filestorage.Open(source)
	if err == nil {
		defer f.Close()
		records := f.Records(bar.show)
		if torn {
			records = untilTorn(records)
		}
		done, err := st.Import(ctx, records, nil)
		return movedRecords{From: source, Records: int64(st.Len()), Entries: done.Records}, err
	}
	if st, e := os.Stat(source); e != nil || !st.IsDir() {
		return m, err
	}
	err = withRecords(openToRead, source, func(from *record.Storage) error {
		if err := isWhole(from, source); err != nil {
			return err
		}
		_, err := st.Import(ctx, from.All(), &record.ImportOptions{Progress: countedOn(bar, from.Len())})
		return err
	})
	return movedRecords{From: source, Records: int64(st.Len())}, err
}

// isWhole returns an error for a store in which a migration was interrupted: it may lack any records.
func isWhole(st *record.Storage, path string) error {
	stats, err := st.Stats()
	if err == nil && stats.Importing {
		err = fmt.Errorf("found the store %s: %w: run it again to its end", path, record.ErrImporting)
	}
	return err
}

// countedOn shows a number of records of a total.
func countedOn(bar *progressLine, total int) func(int64) {
	return func(n int64) {
		if bar.show != nil {
			bar.show(n, int64(total))
		}
	}
}

// untilTorn ends where an incomplete transaction begins.
func untilTorn(records iter.Seq2[record.Record, error]) iter.Seq2[record.Record, error] {
	return func(yield func(record.Record, error) bool) {
		for r, err := range records {
			if errors.Is(err, filestorage.ErrTorn) || !yield(r, err) {
				return
			}
		}
	}
}

func newRecordExport() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export STORE FILE",
		Short: "Write a FileStorage file that Durus opens",
		Long: `export writes all records of one version of STORE to the new file FILE, in the format
SHELF-1 of Durus's FileStorage, with the ids that they have. Clients may write
meanwhile. FILE appears when all of it is on disk: before, it is FILE.part, which an
export that is interrupted leaves, and another one overwrites.`,
		Example: "  shmctl record export /var/lib/app/objects copy.durus",
		RunE: func(cmd *cobra.Command, args []string) error {
			path, rest, err := storeArguments(cmd, args, "STORE FILE", 1, 1)
			if err != nil {
				return err
			}
			return withRecords(openToRead, path, func(st *record.Storage) error {
				if err := isWhole(st, path); err != nil {
					return err
				}
				return interruptible(cmd, func(ctx context.Context) error {
					bar := newProgress(cmd.ErrOrStderr(), "export")
					n, err := filestorage.Write(rest[0], until(ctx, st.All()), &filestorage.WriteOptions{Progress: countedOn(bar, st.Len())})
					bar.clear()
					if err != nil {
						return err
					}
					return printResult(cmd, movedRecords{From: path, To: rest[0], Records: n})
				})
			})
		},
	}
	jsonFlag(cmd)
	return cmd
}

// until ends a sequence with the error of ctx when that is done.
func until(ctx context.Context, records iter.Seq2[record.Record, error]) iter.Seq2[record.Record, error] {
	return func(yield func(record.Record, error) bool) {
		for r, err := range records {
			if err == nil {
				err = ctx.Err()
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}
