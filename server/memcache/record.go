package memcache

import (
	"errors"
	"math/bits"

	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/cache"
)

// The methods of this file are called for each request of a key, in all protocols: they count
// it, for the server and by the prefix of the key, and tell those who watch.

// An outcome is how a request to store an item ended.
type outcome uint8

const (
	notStored outcome = iota
	stored
	exists
	notFound
	outcomeTooLarge
	outcomeNoMemory
)

// outcomes has memcached's names of the outcomes.
var outcomes = [...]string{"not_stored", "stored", "exists", "not_found", "too_large", "no_memory"}

// recordGet records that the item of a key was asked for. size is that of its value.
func (c *conn) recordGet(key []byte, hit bool, size int) {
	c.countGet(key, hit, size)
	if hit {
		c.srv.noteRead(key)
	}
}

// recordGets is recordGet of the first n of some keys, of which those whose bits are set in hits
// had an item. It tells nobody.
func (c *conn) recordGets(keys [][]byte, hits uint64, n int) {
	found := bits.OnesCount64(hits)
	c.counts.add(cmdGet, n)
	if found > 0 {
		c.counts.add(getHits, found)
		c.srv.recent.noteMany(keys, hits, c.srv.seconds.Load())
	}
	if found < n {
		c.counts.add(getMisses, n-found)
	}
}

// countGet is recordGet for a request that is no use of the item.
func (c *conn) countGet(key []byte, hit bool, size int) {
	c.counts.add(cmdGet, 1)
	if hit {
		c.counts.add(getHits, 1)
	} else {
		c.counts.add(getMisses, 1)
	}
	c.tellGet(key, hit, size)
}

// recordTouch records that a key was touched. With get its item was asked for too.
func (c *conn) recordTouch(key []byte, hit, get bool, size int) {
	c.countTouch(key, hit, get, size)
	if hit {
		c.srv.noteRead(key)
	}
}

// countTouch is recordTouch for a request that is no use of the item.
func (c *conn) countTouch(key []byte, hit, get bool, size int) {
	c.counts.add(cmdTouch, 1)
	if hit {
		c.counts.add(touchHits, 1)
	} else {
		c.counts.add(touchMisses, 1)
	}
	if get {
		if hit {
			c.counts.add(getHits, 1)
		}
		c.tellGet(key, hit, size)
	}
}

// tellGet tells stats detail and the watchers of a read.
func (c *conn) tellGet(key []byte, hit bool, size int) {
	if c.srv.detail.on.Load() {
		c.srv.detail.get(key, hit)
	}
	c.tellWatchers(key, hit, size)
}

// tellWatchers tells those who watch reads what was found under a key.
func (c *conn) tellWatchers(key []byte, hit bool, size int) {
	if c.srv.watchers.want(watchFetchers) {
		c.srv.watchers.get(c, key, hit, size)
	}
}

// recordArriving records that a value for a key is about to come.
func (c *conn) recordArriving(key []byte) {
	if c.srv.detail.on.Load() {
		c.srv.detail.set(key)
	}
}

// recordStore records how storing a value ended. exptime is as the client gave it.
func (c *conn) recordStore(key []byte, v verb, o outcome, exptime int64, size int) {
	switch o {
	case outcomeTooLarge:
		c.counts.add(storeTooLarge, 1)
	case outcomeNoMemory:
		c.counts.add(storeNoMemory, 1)
	default:
		c.counts.add(cmdSet, 1)
		if o == stored {
			c.srv.noteStored(key)
			c.counts.add(totalItems, 1)
		}
	}
	if v == verbCas {
		switch o {
		case stored:
			c.counts.add(casHits, 1)
		case exists:
			c.counts.add(casBadval, 1)
		case notFound:
			c.counts.add(casMisses, 1)
		}
	}
	if c.srv.watchers.want(watchMutations) {
		c.srv.watchers.store(c, key, v, o, exptime, size)
	}
}

// recordDelete records that a key was deleted.
func (c *conn) recordDelete(key []byte, hit bool) {
	if c.srv.detail.on.Load() {
		c.srv.detail.delete(key)
	}
	if hit {
		c.counts.add(deleteHits, 1)
	} else {
		c.counts.add(deleteMisses, 1)
	}
}

// recordCount records that a number was incremented or decremented.
func (c *conn) recordCount(incr, hit bool) {
	what := [2][2]counter{{decrMisses, decrHits}, {incrMisses, incrHits}}
	c.counts.add(what[index(incr)][index(hit)], 1)
}

func index(b bool) int {
	if b {
		return 1
	}
	return 0
}

// outcomeOf returns how a write ended that the cache has answered with an error.
func outcomeOf(err error) outcome {
	switch {
	case err == nil:
		return stored
	case errors.Is(err, shm.ErrNotFound):
		return notFound
	case errors.Is(err, shm.ErrExist):
		return notStored
	case errors.Is(err, cache.ErrToken):
		return exists
	case errors.Is(err, shm.ErrTooLarge):
		return outcomeTooLarge
	}
	return outcomeNoMemory
}
