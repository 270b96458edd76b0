package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
	"github.com/seed-869cc763/shmkv/shm/cache"
)

// evicted is the result of evict.
type evicted struct{ cache.Freed }

// expiredDeleted is the result of evict --expired.
type expiredDeleted struct {
	Expirations int `json:"expirations"`
}

func newCacheEvict() *cobra.Command {
	var of regionChoice
	var expired bool
	cmd := &cobra.Command{
		Use:   "evict STORE [SIZE]",
		Short: "Delete items to free space",
		Long: `evict deletes items of a region until about SIZE bytes of blocks are free, or no items
are left. It chooses items as a write to a full cache does: of samples it deletes those
that have expired, and those that were read least for each byte that they take. With
--expired, instead of SIZE, it deletes all items that have expired, and no others.
Processes that use the cache do so too, little by little.

The free blocks are used by the writes that follow. The file becomes shorter when
shmctl compact makes it so.`,
		Example: "  shmctl cache evict /dev/shm/cache 16MiB\n  shmctl cache evict /dev/shm/cache --expired",
		RunE: func(cmd *cobra.Command, args []string) error {
			sizes := 1
			if expired {
				sizes = 0
			}
			path, rest, err := storeArguments(cmd, args, "STORE SIZE, or STORE with --expired", sizes, sizes)
			if err != nil {
				return err
			}
			var size bytesValue
			if !expired {
				if err := size.Set(rest[0]); err != nil {
					return usagef("cache evict: SIZE: %w", err)
				}
			}
			return of.withRegion(openToWrite, path, func(c *cache.Cache) error {
				var done result
				err := interruptible(cmd, func(ctx context.Context) error {
					if expired {
						n, err := c.DeleteExpired(ctx)
						done = expiredDeleted{n}
						return err
					}
					f, err := c.Evict(ctx, int64(size))
					done = evicted{f}
					return err
				})
				if err != nil {
					return err
				}
				return printResult(cmd, done)
			})
		},
	}
	jsonFlag(cmd)
	of.flags(cmd)
	cmd.Flags().BoolVar(&expired, "expired", false, "delete all items that have expired, and no others")
	return cmd
}

// Print implements result.
func (e evicted) Print(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%s evicted, %s deleted, about %s of blocks\n", text.Things(e.Evictions, "item", "items"),
		text.Things(e.Expirations, "expired item", "expired items"), text.Size(e.Bytes))
	return err
}

// Print implements result.
func (e expiredDeleted) Print(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%s deleted\n", text.Things(e.Expirations, "expired item", "expired items"))
	return err
}
