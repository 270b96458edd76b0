package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
	"github.com/seed-869cc763/shmkv/shm"
)

// compacted is the result of compact.
type compacted struct {
	Path string `json:"path"`
	shm.CompactStats
	Ended bool `json:"ended"` // false if --limit stopped it
}

// rewritten is the result of compact --exclusive.
type rewritten struct {
	Path      string `json:"path"`
	Entries   int64  `json:"entries"`
	DataBytes int64  `json:"data_bytes"`
	MaxSize   int64  `json:"max_size"`
	Before    int64  `json:"before"` // AllocatedBytes of the old store
	After     int64  `json:"after"`  // AllocatedBytes of the new store
}

func newCompact() *cobra.Command {
	var exclusive bool
	var rate, maxSize bytesValue
	var limit time.Duration
	cmd := &cobra.Command{
		Use:   "compact STORE",
		Short: "Give free space back to the file system",
		Long: `compact moves records from sparse pages at the end of the file to free space near
its beginning, and gives the memory of empty pages back to the file system. The file
keeps its length, but takes less memory (see "allocated" of stat).

Others may use the store meanwhile. compact moves each record by a separate commit,
like a set of the same value. Records that snapshots hold stay in place. You may
interrupt or kill compact at any time: the records moved so far stay moved, and the
next run continues.

With --exclusive, compact rewrites the whole store as a dense copy and replaces the
old store by it in one step. --max-size then sets a new maximum size. The copy is
made in the directory that contains STORE, which needs space for both. If others have
the store open, nothing happens, the exit code is 8, and standard error names the
processes. You may interrupt or kill it at any time: until the last step the store
is unchanged.`,
		Example: "  shmctl compact /dev/shm/cache\n  shmctl compact /dev/shm/cache --rate 10MiB --limit 1m\n" +
			"  shmctl compact /dev/shm/cache --exclusive --max-size 1GiB",
		RunE: func(cmd *cobra.Command, args []string) error {
			path, _, err := storeArguments(cmd, args, "STORE", 0, 0)
			if err != nil {
				return err
			}
			switch {
			case limit < 0:
				return usagef("compact: found --limit %v, expected a duration", limit)
			case exclusive && (limit != 0 || rate != 0):
				return usagef("compact: found --exclusive with --rate or --limit, expected one of them")
			case exclusive:
				return compactAlone(cmd, path, int64(maxSize))
			case maxSize != 0:
				return usagef("compact: found --max-size, expected --exclusive with it")
			}
			return withStore(openToWrite, path, func(s *shm.Store) error {
				bar := newProgress(cmd.ErrOrStderr(), cmd.Name())
				c := compacted{Path: path, Ended: true}
				err := interruptible(cmd, func(ctx context.Context) (err error) {
					limited := ctx
					if limit > 0 {
						var cancel context.CancelFunc
						limited, cancel = context.WithTimeout(ctx, limit)
						defer cancel()
					}
					c.CompactStats, err = s.Compact(limited, &shm.CompactOptions{Rate: int64(rate), Progress: bar.show})
					if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
						c.Ended, err = false, nil
					}
					return err
				})
				bar.clear()
				if err != nil {
					return err
				}
				return printResult(cmd, c)
			})
		},
	}
	jsonFlag(cmd)
	cmd.Flags().Var(&rate, "rate", "most bytes of keys and values to move each second, as in 10MiB")
	cmd.Flags().DurationVar(&limit, "limit", 0, "end after `DURATION`, as in 30s")
	cmd.Flags().BoolVar(&exclusive, "exclusive", false, "rewrite the whole store, if nobody else has it open")
	cmd.Flags().Var(&maxSize, "max-size", "with --exclusive, the new maximum size of the store, as in 512MiB")
	return cmd
}

// compactAlone rewrites a store that nobody else has open.
func compactAlone(cmd *cobra.Command, path string, maxSize int64) error {
	before, err := statsOf(path)
	if err != nil {
		return err
	}
	if err := rewrite(cmd, path, maxSize); err != nil {
		return err
	}
	st, err := statsOf(path)
	if err != nil {
		return err
	}
	return printResult(cmd, rewritten{path, st.Entries, st.DataBytes, st.MaxSize, before.AllocatedBytes, st.AllocatedBytes})
}

// rewrite calls shm.Rewrite and shows a progress bar.
func rewrite(cmd *cobra.Command, path string, maxSize int64) error {
	bar := newProgress(cmd.ErrOrStderr(), cmd.Name())
	defer bar.clear()
	return interruptible(cmd, func(ctx context.Context) error {
		return shm.Rewrite(ctx, path, &shm.CopyOptions{MaxSize: maxSize, Progress: bar.show})
	})
}

// statsOf opens the store at path and returns its Stats.
func statsOf(path string) (st shm.Stats, err error) {
	err = withStore(openToRead, path, func(s *shm.Store) error {
		st = s.Stats()
		return nil
	})
	return st, err
}

func (r rewritten) Print(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%s: %s, was %s; %s of %s; may grow to %s\n", r.Path, text.Size(r.After), text.Size(r.Before),
		text.Things(r.Entries, "record", "records"), text.Size(r.DataBytes), text.Size(r.MaxSize))
	return err
}

func (c compacted) Print(w io.Writer) error {
	s := fmt.Sprintf("%s: %s, was %s; moved %s of %s", c.Path, text.Size(c.After), text.Size(c.Before),
		text.Things(c.Moved, "record", "records"), text.Size(c.MovedBytes))
	if !c.Ended {
		s += "; stopped by --limit before the end"
	}
	_, err := fmt.Fprintln(w, s)
	return err
}
