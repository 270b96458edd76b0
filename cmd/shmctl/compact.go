package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/shm"
)

// compacted is what compact reports.
type compacted struct {
	Path string `json:"path"`
	shm.CompactStats
	Ended bool `json:"ended"` // false: --limit came first
}

func newCompact() *cobra.Command {
	var asJSON bool
	var rate bytesValue
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
simply be run again. A new store that is as small as can be is what backup makes.`,
		Example: "  shmctl compact /dev/shm/cache\n  shmctl compact /dev/shm/cache --rate 10MiB --limit 1m",
		Args:    arguments("STORE", 1, 1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if limit < 0 {
				return usagef("compact: found --limit %v, expected a duration", limit)
			}
			s, err := shm.Open(args[0], &shm.Options{MustExist: true})
			if err != nil {
				return err
			}
			defer closing(s, &err)
			bar := newProgress(cmd.ErrOrStderr(), cmd.Name())
			c := compacted{Path: args[0], Ended: true}
			err = interruptible(cmd, func(ctx context.Context) (err error) {
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
			if asJSON {
				return printJSON(cmd.OutOrStdout(), c)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), c)
			return err
		},
	}
	jsonFlag(cmd, &asJSON)
	cmd.Flags().Var(&rate, "rate", "move at most so many bytes of keys and values a second, as in 10MiB")
	cmd.Flags().DurationVar(&limit, "limit", 0, "end after `DURATION`, as in 30s")
	return cmd
}

func (c compacted) String() string {
	s := fmt.Sprintf("%s: %s, was %s; moved %s of %s", c.Path, size(c.After), size(c.Before),
		things(c.Moved, "record", "records"), size(c.MovedBytes))
	if !c.Ended {
		s += "; the time was over before the end"
	}
	return s
}
