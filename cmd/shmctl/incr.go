package main

import (
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
	"github.com/seed-869cc763/shmkv/shm"
)

func newIncr() *cobra.Command {
	var key64 bool
	cmd := &cobra.Command{
		Use:   "incr STORE KEY [N]",
		Short: "Add to the number that is the value of a key",
		Long: `incr adds N, or 1, to the value of KEY and prints the sum. The value must be a
decimal integer of at most 64 bits and nothing else, also no newline; a key that
is not in the store counts as 0. N may be negative, and stands after -- then. It
exits with 1, and changes nothing, if the value is not such an integer or the sum
is out of range.

Others may write to the same key meanwhile: the sum is written only if the value is
still the one that was read, else incr reads it again. So no addition is lost.`,
		Example: "  shmctl incr /dev/shm/cache visits\n  shmctl incr /dev/shm/cache -- stock -3",
		RunE: func(cmd *cobra.Command, args []string) error {
			path, rest, err := storeArguments(cmd, args, "STORE KEY [N]", 1, 2)
			if err != nil {
				return err
			}
			key, err := keyArgument(rest[0], key64)
			if err != nil {
				return err
			}
			n := int64(1)
			if len(rest) == 2 {
				if n, err = strconv.ParseInt(rest[1], 10, 64); err != nil {
					return usagef("incr: found N %q, expected a decimal integer of at most 64 bits", rest[1])
				}
			}
			return withStore(openToWrite, path, func(s *shm.Store) error {
				sum, err := incr(s, key, n)
				if err != nil {
					return fmt.Errorf("incr %s: %w", text.Printable(key), err)
				}
				_, err = fmt.Fprintln(cmd.OutOrStdout(), sum)
				return err
			})
		},
	}
	keyFlag(cmd, &key64)
	return cmd
}

// incr adds n to the value of key and returns the sum.
func incr(s *shm.Store, key []byte, n int64) (int64, error) {
	for {
		old, err := s.Get(key)
		value := int64(0)
		switch {
		case errors.Is(err, shm.ErrNotFound):
			old = nil // absent, for CompareAndSwap
		case err != nil:
			return 0, err
		default:
			if value, err = strconv.ParseInt(string(old), 10, 64); err != nil {
				return 0, fmt.Errorf("found the value %s, expected a decimal integer of at most 64 bits", text.Brief(old))
			}
		}
		if n > 0 && value > math.MaxInt64-n || n < 0 && value < math.MinInt64-n {
			return 0, fmt.Errorf("the sum of %d and %d is out of range", value, n)
		}
		swapped, err := s.CompareAndSwap(key, old, strconv.AppendInt(nil, value+n, 10))
		if err != nil || swapped {
			return value + n, err
		}
	}
}
