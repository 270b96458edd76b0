package cache

import (
	"math/rand/v2"
	"time"
)

// A CreateOption says how GetOrCreate works, beyond the defaults.
type CreateOption func(*createOptions)

type createOptions struct {
	ttl, soft, absent, lease time.Duration
	jitter                   float64
	background               bool
}

// defaultLease is the lease of a creator.
const defaultLease = 10 * time.Second

// WithTTL gives the item that is created this time to live, as Set does. The default is
// Options.TTL.
func WithTTL(ttl time.Duration) CreateOption { return func(o *createOptions) { o.ttl = ttl } }

// WithSoftTTL makes the item stale after this time. From then on one caller creates it
// again, and the others get the value that there is. The default is never.
func WithSoftTTL(ttl time.Duration) CreateOption { return func(o *createOptions) { o.soft = ttl } }

// WithBackground lets the caller that creates a stale item again return the value that there
// is at once, and the function create run in a goroutine of its own. The context that create
// gets then has the values of the caller's, and does not end with it.
func WithBackground() CreateOption { return func(o *createOptions) { o.background = true } }

// WithJitter makes both times to live of an item shorter by a random part of this fraction at
// most, so that items that were made at the same time do not end at the same time. 0.1 means
// a tenth.
func WithJitter(fraction float64) CreateOption {
	return func(o *createOptions) { o.jitter = min(max(fraction, 0), 1) }
}

// WithAbsentTTL remembers for this time that there is no value, when create returns an error
// that matches shm.ErrNotFound. Until then GetOrCreate returns shm.ErrNotFound to all
// processes without calling create. By default it is not remembered.
func WithAbsentTTL(ttl time.Duration) CreateOption { return func(o *createOptions) { o.absent = ttl } }

// WithLease is for how long a creator has its claim although its process is stopped. While
// the process runs, the claim is renewed, however long create takes. The default is 10
// seconds.
func WithLease(d time.Duration) CreateOption { return func(o *createOptions) { o.lease = d } }

func completeCreate(opts []CreateOption) *createOptions {
	o := &createOptions{}
	for _, set := range opts {
		set(o)
	}
	if o.lease <= 0 {
		o.lease = defaultLease
	}
	return o
}

// times returns when an item that is created now expires, and from when on it is stale.
func (o *createOptions) times(c *Cache) (expires, stale time.Time) {
	ttl, soft := o.ttl, o.soft
	if ttl == 0 {
		ttl = c.ttl
	}
	part := 1 - o.jitter*rand.Float64()
	if ttl > 0 {
		expires = c.ends(max(time.Duration(float64(ttl)*part), 1))
	}
	if soft > 0 {
		stale = c.ends(max(time.Duration(float64(soft)*part), 1))
	}
	return expires, stale
}
