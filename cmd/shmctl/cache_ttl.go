package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/cache"
)

// ttlResult is the result of ttl.
type ttlResult struct {
	jsonRecord
	Expires time.Time `json:"expires,omitzero"`
	Seconds *float64  `json:"seconds_left"` // nil: it does not expire
	left    time.Duration
}

func newCacheTTL() *cobra.Command {
	var of regionChoice
	var key64 bool
	cmd := &cobra.Command{
		Use:   "ttl STORE KEY [TIME]",
		Short: "Show or change the time that an item has left",
		Long: `ttl shows how long the item of KEY has left until it expires, or "never". With TIME, a
number of seconds or a time such as 10m, the item expires after this time from now; with
"never" it stays until it is evicted or deleted. Its value, flags and token stay. The
exit code is 3 if KEY is not in the cache.

ttl counts as a hit or a miss, as the read of any program does.`,
		Example: "  shmctl cache ttl /dev/shm/cache greeting\n  shmctl cache ttl /dev/shm/cache greeting 10m\n  shmctl cache ttl /dev/shm/cache greeting never",
		RunE: func(cmd *cobra.Command, args []string) error {
			path, rest, err := storeArguments(cmd, args, "STORE KEY [TIME]", 1, 2)
			if err != nil {
				return err
			}
			key, err := keyArgument(rest[0], key64)
			if err != nil {
				return err
			}
			var ttl ttlValue
			open := openToRead
			if len(rest) == 2 {
				open = openToWrite
				if err := ttl.Set(rest[1]); err != nil {
					return usagef("cache ttl: TIME: %w", err)
				}
			}
			return of.withRegion(open, path, func(c *cache.Cache) error {
				if ttl.set {
					return absentItem("ttl", key, c.Touch(key, ttl.d))
				}
				it, err := c.Get(key)
				if err != nil {
					return absentItem("ttl", key, err)
				}
				r := ttlResult{Expires: it.Expires}
				if r.setKey(key); !it.Expires.IsZero() {
					r.left = time.Until(it.Expires)
					seconds := r.left.Seconds()
					r.Seconds = &seconds
				}
				return printResult(cmd, r)
			})
		},
	}
	jsonFlag(cmd)
	keyFlag(cmd, &key64)
	of.flags(cmd)
	return cmd
}

// Print implements result.
func (r ttlResult) Print(w io.Writer) (err error) {
	if r.Seconds == nil {
		_, err = fmt.Fprintln(w, "never")
	} else {
		_, err = fmt.Fprintln(w, r.left.Round(time.Millisecond))
	}
	return err
}

// absentItem adds verb and key to the error of an item that is not there.
func absentItem(verb string, key []byte, err error) error {
	if errors.Is(err, shm.ErrNotFound) {
		return fmt.Errorf("cache %s %s: %w", verb, text.Printable(key), err)
	}
	return err
}
