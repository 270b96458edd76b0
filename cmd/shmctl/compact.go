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

// compacted is what compact reports.
type compacted struct {
	Path string `json:"path"`
	shm.CompactStats
	Ended bool `json:"ended"` // false: --limit came first
}

// rewritten is what compact --exclusive reports.
type rewritten struct {
	Path      string `json:"path"`
	Entries   int64  `json:"entries"`
	DataBytes int64  `json:"data_bytes"`
	MaxSize   int64  `json:"max_size"`
	Before    int64  `json:"before"` // AllocatedBytes
	After     int64  `json:"after"`
}

func newCompact() *cobra.Command {
	var exclusive bool
	var rate, maxSize bytesValue
	var limit time.Duration
	cmd := &cobra.Command{
		Use:   "compact STORE",
		Short: "Give space back to the file system",
		Long: `compact moves records from sparse pages in the rear of the file to free space in
front, and gives the memory of what is left empty back to the file system. The
file keeps its length; what it takes falls (see "allocated" of stat).

Others may use the store meanwhile: each record is moved by a commit of its own,
as if somebody had written the same value again. What snapshots hold stays. It
may be interrupted or killed at any time: what was done is done, and it can
simply be run again.

With --exclusive the whole store is written anew, as small as can be, with a file
that is as short as can be, and put in the place of the old one in one step. Then
--max-size may also change what it can grow to. Nobody else may have the store open:
otherwise nothing happens, the exit code is 8, and standard error names the
processes. It may be interrupted or killed at any time too: until the end the store
is what it was. It takes space for both, in the directory that holds STORE.`,
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
	cmd.Flags().Var(&rate, "rate", "move at most so many bytes of keys and values a second, as in 10MiB")
	cmd.Flags().DurationVar(&limit, "limit", 0, "end after `DURATION`, as in 30s")
	cmd.Flags().BoolVar(&exclusive, "exclusive", false, "write the whole store anew, if nobody else has it open")
	cmd.Flags().Var(&maxSize, "max-size", "with --exclusive, what the store may grow to from now on, as in 512MiB")
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

// rewrite is shm.Rewrite with a progress line.
func rewrite(cmd *cobra.Command, path string, maxSize int64) error {
	bar := newProgress(cmd.ErrOrStderr(), cmd.Name())
	defer bar.clear()
	return interruptible(cmd, func(ctx context.Context) error {
		return shm.Rewrite(ctx, path, &shm.CopyOptions{MaxSize: maxSize, Progress: bar.show})
	})
}

// statsOf looks at a store that is not open.
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
		s += "; the time was over before the end"
	}
	_, err := fmt.Fprintln(w, s)
	return err
}
