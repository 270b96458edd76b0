package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/shm/cache"
)

func newCacheSet() *cobra.Command {
	var of regionChoice
	var in valueInput
	var key64, add, replace bool
	var token uint64
	var flags uint32
	var ttl, soft ttlValue
	var bound bytesValue
	cmd := &cobra.Command{
		Use:   "set STORE KEY [VALUE|-]",
		Short: "Set an item",
		Long: `set sets the value of KEY to VALUE. Without VALUE, or with -, it reads the value
from standard input up to its end, including the last newline. If standard input is
empty, set changes nothing and the exit code is 1, because the program that should
have written the value has probably failed. To set an empty value use --empty, or ''
as VALUE. Write a VALUE that begins with a dash after --.

The item ends after --ttl, a number of seconds or a time such as 10m. Without it, or
with "never", the item stays until it is evicted or deleted. After --soft-ttl it is
stale: programs still get it, and one of them creates it again.

With --add, set works only if KEY is not in the cache, with --replace only if it is, and
with --token only if the item has this token still. If not, set changes nothing, and the
exit code is 3 if KEY is not in the cache, and 1 otherwise.

set creates a store that does not exist. --bytes is the bound of its cache.`,
		Example: "  shmctl cache set /dev/shm/cache greeting hello --ttl 10m\n  shmctl cache set /dev/shm/cache photo --flags 1 <photo.jpg\n  shmctl cache set /dev/shm/cache lock me --add --ttl 30",
		RunE: func(cmd *cobra.Command, args []string) error {
			path, rest, err := storeArguments(cmd, args, "STORE KEY [VALUE|-]", 1, 2)
			if err != nil {
				return err
			}
			cond, given := cache.Always, 0
			for _, c := range []struct {
				flag string
				cond cache.Condition
			}{{"add", cache.IfAbsent}, {"replace", cache.IfPresent}, {"token", cache.IfToken}} {
				if cmd.Flags().Changed(c.flag) {
					cond = c.cond
					given++
				}
			}
			if given > 1 {
				return usagef("cache set: found %d of --add, --replace and --token, expected one of them at most", given)
			}
			key, err := keyArgument(rest[0], key64)
			if err != nil {
				return err
			}
			value, err := in.read(cmd, path, args, rest)
			if err != nil {
				return err
			}
			return of.withNewRegion(bound, path, func(c *cache.Cache) error {
				it := cache.Item{Value: value, Flags: flags, Token: token, Expires: ttl.from(time.Now()), StaleAfter: soft.from(time.Now())}
				_, err := c.SetItem(key, it, cond)
				return absentItem("set", key, err)
			})
		},
	}
	of.flags(cmd)
	keyFlag(cmd, &key64)
	in.flags(cmd)
	f := cmd.Flags()
	f.Var(&ttl, "ttl", "the item ends after this time")
	f.Var(&soft, "soft-ttl", "the item is stale after this time")
	f.Uint32Var(&flags, "flags", 0, "flags of the item, a `NUMBER` of 32 bits")
	f.BoolVar(&add, "add", false, "only if the key is not in the cache")
	f.BoolVar(&replace, "replace", false, "only if the key is in the cache")
	f.Uint64Var(&token, "token", 0, "only if the item has this `TOKEN`")
	f.Var(&bound, "bytes", "bound of a cache that this command creates, as in 512MiB (default 64MiB)")
	return cmd
}

// from returns the time that lies so much after now, or the zero Time for never.
func (v *ttlValue) from(now time.Time) time.Time {
	if v.d <= 0 {
		return time.Time{}
	}
	return now.Add(v.d)
}
