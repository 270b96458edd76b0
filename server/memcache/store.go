package memcache

import (
	"errors"

	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/cache"
)

// A verb is a command that stores a value.
type verb uint8

const (
	verbSet verb = iota
	verbAdd
	verbReplace
	verbAppend
	verbPrepend
	verbCas
)

// verbs has the names of the verbs.
var verbs = [...]string{"set", "add", "replace", "append", "prepend", "cas"}

// conditions has the condition of each verb that replaces an item.
var conditions = [...]cache.Condition{verbSet: cache.Always, verbAdd: cache.IfAbsent, verbReplace: cache.IfPresent, verbCas: cache.IfToken}

func verbOf(name []byte) verb {
	for v, s := range verbs {
		if s == string(name) {
			return verb(v)
		}
	}
	return verbSet
}

// refuseStore records that a value cannot be stored. A set deletes the earlier one: its client
// believes that it is outdated.
func (c *conn) refuseStore(key []byte, v verb, o outcome, exptime int64) {
	c.recordStore(key, v, o, exptime, 0)
	if v == verbSet {
		c.deleteOutdated(key)
	}
}

func (c *conn) deleteOutdated(key []byte) {
	if _, err := c.srv.cache.Delete(key); err != nil {
		c.srv.log.Error("an outdated item could not be deleted", "key", string(key), "error", err)
	}
}

// tellStored tells those who watch reads what a request to store an item found before, as
// memcached does.
func (c *conn) tellStored(key []byte) {
	n, found := 0, false
	_ = c.srv.cache.GetMany([][]byte{key}, func(_ int, it cache.Item, ok bool) { n, found = len(it.Value), ok })
	c.tellWatchers(key, found, n)
}

const (
	tooLarge = "SERVER_ERROR object too large for cache"
	noRoom   = "SERVER_ERROR out of memory storing object"
)

// fits reports whether an item of a key and a value of these lengths is within
// Options.ItemSize.
func (c *conn) fits(key int, flags uint32, value int) bool {
	return itemSize(key, flags, value) <= c.srv.opts.ItemSize
}

// itemSize returns the size of an item as memcached counts it: 56 bytes of its own, an end of
// the key and two of the value, and 4 for flags that are not 0.
func itemSize(key int, flags uint32, value int) int {
	size := 56 + key + 1 + value + 2
	if flags != 0 {
		size += 4
	}
	return size
}

// storeError returns the line for an error of the cache.
func storeError(err error) string {
	switch {
	case errors.Is(err, shm.ErrTooLarge):
		return tooLarge
	case errors.Is(err, shm.ErrFull):
		return noRoom
	}
	return "SERVER_ERROR " + oneLine(err.Error())
}

// oneLine returns at most 200 bytes of a text, without ends of lines.
func oneLine(text string) string {
	b := []byte(text[:min(len(text), 200)])
	for i := range b {
		if b[i] < ' ' || b[i] == 0x7f {
			b[i] = ' '
		}
	}
	return string(b)
}
