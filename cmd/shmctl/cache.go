package main

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/cache"
)

func newCache() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cache VERB",
		Short: "Look into a cache, and change it",
		Long: `cache has verbs for the caches of package shm/cache. A store may have several regions
of a cache, each in a named map: --region chooses one, by default the region "cache".
An item of a region has a value, flags, an expiry and a token. No verb shows an item
that has expired.

The other verbs of shmctl work on the entries of a region, with --map. These have 32
bytes behind the value, for flags, expiry and token: keys --items and get --items show
them. dump and load keep them.`,
		Example: "  shmctl cache set /dev/shm/cache greeting hello --ttl 10m\n  shmctl cache get /dev/shm/cache greeting --long\n  shmctl cache top /dev/shm/cache",
	}
	verbs := []*cobra.Command{
		newCacheEvict(), newCacheFlush(), newCacheGet(), newCacheSet(), newCacheStat(), newCacheTop(), newCacheTTL(),
	}
	cmd.AddCommand(verbs...)
	var names []string
	for _, c := range verbs {
		names = append(names, c.Name())
	}
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(_ *cobra.Command, args []string) error { // for an unknown verb
		found := "no verb"
		if len(args) > 0 {
			found = strconv.Quote(args[0])
		}
		return usagef("cache: found %s, expected one of %s (see shmctl cache --help)", found, strings.Join(names, ", "))
	}
	return cmd
}

var errNoRegion = errors.New("no such region")

// A regionChoice is the region of a cache that a command line chooses.
type regionChoice struct {
	cmd     *cobra.Command
	written string // the value of --region
	in64    bool
	name    string // see parse
}

// flags adds --region.
func (r *regionChoice) flags(cmd *cobra.Command) {
	r.cmd = cmd
	cmd.Flags().StringVar(&r.written, "region", "cache", "the region `NAME`")
	nameFlag(cmd, &r.in64)
	if err := cmd.RegisterFlagCompletionFunc("region", completeMap); err != nil {
		panic(err)
	}
}

// parse parses the name. Call it before the other methods.
func (r *regionChoice) parse() (err error) {
	if r.in64 && !r.cmd.Flags().Changed("region") {
		return usagef("%s: found --name64 without --region, expected both", verbOf(r.cmd))
	}
	r.name, err = nameArgument(r.written, r.in64)
	if err == nil && (r.name == "" || r.name == cache.RegionsMap || strings.HasPrefix(r.name, cache.ClaimsPrefix)) {
		err = usagef("%s: found --region %s, expected a name that is not empty, is not %s, and does not begin with %s",
			verbOf(r.cmd), text.Printable([]byte(r.name)), cache.RegionsMap, cache.ClaimsPrefix)
	}
	return err
}

func (r *regionChoice) String() string {
	return verbOf(r.cmd) + " --region " + text.Printable([]byte(r.name))
}

// check returns an error if the map of the region's name is another one, whose entries are no
// items, because a cache would delete them. Unless the region may be missing, it returns an
// error too if the store does not have it. After a flush a region has no map.
func (r *regionChoice) check(s *shm.Store, mayMiss bool) error {
	kind, err := kindIn(s, r.name)
	switch {
	case err != nil || kind == 0 && mayMiss:
		return err
	case kind == shm.KindOrdered:
		return fmt.Errorf("%v: %w: found map %s of kind %v, expected %v", r, shm.ErrKind, text.Printable([]byte(r.name)), kind, shm.KindHash)
	case kind == shm.KindHash:
		return r.checkItems(s)
	}
	i, err := cache.Inspect(s, r.name)
	if err == nil && !i.Counted && i.Claims == 0 && i.Invalidations == 0 && i.FlushAt.IsZero() {
		err = fmt.Errorf("%v: %w: found neither a map of this name in %s nor a file hints, expected a region of a cache", r, errNoRegion, text.Printable([]byte(s.Path())))
	}
	return err
}

// checkedItems is the number of entries by which a region is told from another map.
const checkedItems = 32

func (r *regionChoice) checkItems(s *shm.Store) error {
	err := s.View(func(sn *shm.Snapshot) error {
		n := 0
		for key, value := range sn.Map(r.name).All() {
			if _, err := cache.ParseItem(value); err != nil {
				return fmt.Errorf("%v: %w: found map %s with key %s and a value of %s that is no item, expected a region of a cache",
					r, errNoRegion, text.Printable([]byte(r.name)), text.Brief(key), text.Things(len(value), "byte", "bytes"))
			}
			if n++; n == checkedItems {
				break
			}
		}
		return sn.Err()
	})
	if errors.Is(err, shm.ErrCannotPin) { // then it is one that only reads
		return nil
	}
	return err
}

// withRegion opens a store and the region in it, calls fn, and closes both.
func (r *regionChoice) withRegion(open opener, path string, fn func(c *cache.Cache) error) error {
	if err := r.parse(); err != nil {
		return err
	}
	return withStore(open, path, func(s *shm.Store) error {
		if err := r.check(s, false); err != nil {
			return err
		}
		return r.with(s, fn)
	})
}

// with opens the region in a store, calls fn, and closes the region.
func (r *regionChoice) with(s *shm.Store, fn func(c *cache.Cache) error) error {
	c, err := cache.New(s, &cache.Options{Region: r.name})
	if err != nil {
		return err
	}
	return errors.Join(fn(c), c.Close())
}

// withNewRegion is withRegion, and makes a region that is missing, also with its store: with
// this bound, or that of the package.
func (r *regionChoice) withNewRegion(bytes bytesValue, path string, fn func(c *cache.Cache) error) error {
	if err := r.parse(); err != nil {
		return err
	}
	s, err := openToWrite(path)
	if errors.Is(err, fs.ErrNotExist) {
		c, err := cache.Open(path, &cache.Options{Bytes: int64(bytes), Region: r.name})
		if err != nil {
			return err
		}
		return errors.Join(fn(c), c.Close())
	}
	if err != nil {
		return err
	}
	if err = r.check(s, true); err == nil {
		err = r.with(s, fn)
	}
	return errors.Join(err, s.Close())
}

// A ttlValue is a flag value of a time to live: a number of seconds, a duration such as 10m, or
// never.
type ttlValue struct {
	set bool
	d   time.Duration // less than 0: never
}

func (v *ttlValue) Type() string { return "TIME" }

func (v *ttlValue) String() string {
	switch {
	case !v.set:
		return ""
	case v.d < 0:
		return "never"
	}
	return v.d.String()
}

func (v *ttlValue) Set(s string) error {
	v.set = true
	if s == "never" {
		v.d = -1
		return nil
	}
	d, err := time.ParseDuration(s)
	if n, e := strconv.ParseUint(s, 10, 32); e == nil {
		d, err = time.Duration(n)*time.Second, nil
	}
	if v.d = d; err != nil || d <= 0 {
		return fmt.Errorf("found %q, expected a number of seconds, a time such as 10m, or never", s)
	}
	return nil
}
