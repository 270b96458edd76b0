package cache

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/seed-869cc763/shmkv/alloc/region"
	"github.com/seed-869cc763/shmkv/shm"
)

// Options say how to open a cache. The zero value of each field is its default.
type Options struct {
	// Bytes bounds the memory of the cache; 0 means 64 MiB with Open, and with New no bound
	// but the MaxSize of the store. It is at least MinBytes. The package comment says what
	// it counts. Each handle keeps the bound that it was opened with, until SetBytes, so all
	// processes should give the same one.
	Bytes int64
	// NoEvict makes a write fail at the bound, with shm.ErrFull, in place of evicting items.
	// Items that have expired are deleted all the same. Other handles evict as they were told.
	// A bound of less than 4 MiB may have no free block then for a write that needs no more
	// room than the item that it replaces.
	NoEvict bool
	// TTL is the time to live of items that are written with a ttl of 0; 0 means that these
	// never expire.
	TTL time.Duration
	// Region is the name of the map that has the items; empty means "cache". Regions of one
	// store share its bound: each handle evicts items of its own region.
	Region string
	// Now is the clock by which items expire; nil means the system's. All handles of a region
	// need the same one. It is called by many goroutines at once.
	Now func() time.Time
	// Logger gets records about work in the background that failed; nil means silence.
	Logger *slog.Logger
	// Store says how Open opens the store. MaxSize is set by Bytes, and a nil Checkpoint
	// means shm.OnSync, so that after a power cut the cache may be empty. New does not look
	// at it.
	Store shm.Options
}

const (
	// MinBytes is the least that Options.Bytes can be.
	MinBytes = 2 << 20

	defaultBytes  = 64 << 20
	defaultRegion = "cache"
)

// The rules, which the seeded faults cite. Those of claims are in claim.go.
//
//	N1  No call returns or counts an item that has expired, and nothing deletes it before
//	    for that reason.
//	N2  Each write but Touch gives the item a new token, or the one that Compute was told. A
//	    condition is decided in the commit.
//	N3  A flush and an invalidation count from their commit on, in all processes, each once.
//	N4  The files of the store never exceed the bound.
//	N5  What is in the sketch changes what is evicted, and nothing else.
//	N6  A handle with Options.NoEvict deletes items that have expired, and no others, to make
//	    room.

// Cache is an open handle on a region of a store. Its methods may be called by many
// goroutines at once. A process may have several handles.
type Cache struct {
	store   *shm.Store
	own     bool // Close closes the store
	region  string
	name    []byte // the region
	items   *shm.Map
	regions *shm.Map
	ttl     time.Duration
	noEvict bool
	log     *slog.Logger
	clock   clock
	known   rules
	changes changes

	room      room
	listeners listeners
	sketch    sketch
	lanes     region.Mem // see newLanes
	stats     counters
	sweep     sweeper

	closed sync.Once
}

// Open opens the cache in the directory path, and makes the store there if it is missing.
// Nil options mean the defaults. The store of a new cache cannot grow beyond Options.Bytes.
// Close closes it. The errors are those of shm.Open.
func Open(path string, opts *Options) (*Cache, error) {
	o, err := opts.complete(defaultBytes)
	if err != nil {
		return nil, fmt.Errorf("cache: opening %s: %w", path, err)
	}
	so := o.Store
	so.MaxSize = dataBytes(o.Bytes) &^ (dataUnit - 1) // shm rounds up
	if so.Checkpoint == nil {
		so.Checkpoint = shm.OnSync()
	}
	if so.Logger == nil {
		so.Logger = o.Logger
	}
	s, err := shm.Open(path, &so)
	if err != nil {
		return nil, err
	}
	c, err := New(s, &o)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	c.own = true
	return c, nil
}

// New returns a cache in an open store, which may have other maps too. The store stays the
// caller's: close the cache first, and then the store. With Options.Bytes, no write to the
// store through this handle, to whatever map, makes its file longer than that.
func New(s *shm.Store, opts *Options) (*Cache, error) {
	o, err := opts.complete(0)
	if err != nil {
		return nil, fmt.Errorf("cache: opening a region of %s: %w", s.Path(), err)
	}
	c := &Cache{
		store:   s,
		region:  o.Region,
		name:    []byte(o.Region),
		items:   s.Map(o.Region),
		regions: s.Map(RegionsMap),
		ttl:     o.TTL,
		noEvict: o.NoEvict,
		log:     o.Logger,
		lanes:   newLanes(),
	}
	c.clock.user = o.Now
	if err := c.limit(o.Bytes); err != nil {
		return nil, err
	}
	// A handle that cannot write uses the sketch that is there, and makes none in a backup.
	writes := !errors.Is(s.Update(func(*shm.Tx) error { return nil }), shm.ErrReadOnly)
	c.sketch.open(s, cmp.Or(o.Bytes, defaultBytes), c.name, writes)
	if writes {
		c.startSweep()
	}
	return c, nil
}

// complete checks options, and puts the defaults in.
func (o *Options) complete(bytes int64) (Options, error) {
	var all Options
	if o != nil {
		all = *o
	}
	if all.Region == "" {
		all.Region = defaultRegion
	}
	if all.Bytes == 0 {
		all.Bytes = bytes
	}
	switch {
	case all.Bytes != 0 && all.Bytes < MinBytes:
		return all, fmt.Errorf("Options.Bytes is %d, expected 0 or at least %d", all.Bytes, MinBytes)
	case len(all.Region) > MaxRegion:
		return all, fmt.Errorf("%w: found a region's name of %d bytes, expected at most %d", shm.ErrTooLarge, len(all.Region), MaxRegion)
	case all.Region == RegionsMap || strings.HasPrefix(all.Region, ClaimsPrefix):
		return all, fmt.Errorf("Options.Region is %q, expected the name of another map", all.Region)
	}
	return all, nil
}

// Store returns the store of the cache.
func (c *Cache) Store() *shm.Store { return c.store }

// Region returns the name of the region.
func (c *Cache) Region() string { return c.region }

// Close ends the work of the handle in the background, and closes the store if Open has
// opened it. Then later calls return shm.ErrClosed. A cache of New goes on to work until its
// store is closed, but does no work in the background. A second Close does nothing.
func (c *Cache) Close() (err error) {
	c.closed.Do(func() {
		c.stopSweep()
		c.publish()
		if c.own {
			err = c.store.Close()
		}
	})
	return err
}

// The hits and misses of a handle lie in lanes, which spread them over cache lines, so that
// goroutines on different processors seldom write to the same one. Two goroutines that count
// in a lane at the same time may lose a count: a count that cannot be lost costs 5 ns.
const (
	lanes      = 64
	laneSize   = 64
	laneHits   = 0
	laneMisses = 8
)

func newLanes() region.Mem { return region.FromWords(make([]uint64, lanes*laneSize/8)) }
