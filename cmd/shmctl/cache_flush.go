package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/shm/cache"
)

func newCacheFlush() *cobra.Command {
	var of regionChoice
	var soft bool
	var at string
	var in ttlValue
	cmd := &cobra.Command{
		Use:   "flush STORE",
		Short: "Empty a region, now or at a time",
		Long: `flush removes all items of a region, for all processes at once. It takes one short
commit, whatever the number of items. With --soft the items stay, and become stale:
programs still get them, and one program creates each of them again.

With --at or --in the region is flushed at a time to come, in place of an earlier one
that has not come yet. The next process that uses the region then flushes it. A flush
without them cancels one that is to come.`,
		Example: "  shmctl cache flush /dev/shm/cache\n  shmctl cache flush /dev/shm/cache --region pages --soft\n  shmctl cache flush /dev/shm/cache --in 10m\n  shmctl cache flush /dev/shm/cache --at 2030-01-01T00:00:00Z",
		RunE: func(cmd *cobra.Command, args []string) error {
			path, _, err := storeArguments(cmd, args, "STORE", 0, 0)
			if err != nil {
				return err
			}
			flags := cmd.Flags()
			if soft && (flags.Changed("at") || flags.Changed("in")) || flags.Changed("at") && flags.Changed("in") {
				return usagef("cache flush: found more than one of --soft, --at and --in, expected one of them at most")
			}
			var when time.Time
			switch now := time.Now(); {
			case flags.Changed("at"):
				if when, err = time.Parse(time.RFC3339, at); err != nil {
					return usagef("cache flush: found --at %q, expected a time such as %s", at, now.Format(time.RFC3339))
				}
				if !when.After(now) {
					return usagef("cache flush: found --at %s, which has passed, expected a time to come (without --at, flush works at once)", at)
				}
			case flags.Changed("in"):
				if in.d < 0 {
					return usagef("cache flush: found --in never, expected a time such as 10m")
				}
				when = now.Add(in.d)
			}
			return of.withRegion(openToWrite, path, func(c *cache.Cache) error {
				if soft {
					return c.Invalidate(true)
				}
				return c.Flush(when)
			})
		},
	}
	of.flags(cmd)
	f := cmd.Flags()
	f.BoolVar(&soft, "soft", false, "make the items stale instead of removing them")
	f.StringVar(&at, "at", "", "flush at this `TIME`, as in 2030-01-01T00:00:00Z")
	f.Var(&in, "in", "flush after this time")
	return cmd
}
