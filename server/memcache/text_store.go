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

// store executes a command with a data block: its name, key, flags, exptime, the length of the
// value, and with cas the number of the item that it is to replace.
func (c *conn) store(args [][]byte, v verb) error {
	c.wantsNoReply(args)
	var unique uint64
	flags, ok1 := parseUint32(args[2])
	exptime, ok2 := parseInt32(args[3])
	length, ok3 := parseInt32(args[4])
	ok4 := true
	if v == verbCas {
		unique, ok4 = parseUint64(args[5])
	}
	size := int(length)
	if len(args[1]) > maxKey || !ok1 || !ok2 || !ok3 || !ok4 || size < 0 || size > 1<<31-3 {
		return c.say(badLine)
	}
	key := append(c.work.key[:0], args[1]...) // reading the value moves the line
	c.recordArriving(key)
	c.srv.recent.fetch(key)
	if !c.fits(len(key), flags, size) {
		c.refuseStore(key, v, outcomeTooLarge, int64(exptime))
		_ = c.say(tooLarge)
		return c.in.discard(size + 2)
	}
	block, err := c.in.data(size + 2)
	if err != nil {
		return err
	}
	if block[size] != '\r' || block[size+1] != '\n' {
		return c.say("CLIENT_ERROR bad data chunk")
	}
	it := cache.Item{Value: block[:size], Flags: flags, Expires: c.srv.expiry(int64(exptime)), Token: unique}
	return c.storeItem(key, &it, v, int64(exptime))
}

// storeItem stores an item, and answers.
func (c *conn) storeItem(key []byte, it *cache.Item, v verb, exptime int64) error {
	if c.srv.watchers.want(watchFetchers) {
		c.tellStored(key)
	}
	var err error
	switch v {
	case verbAppend:
		err = c.join(key, it.Value, opAppend)
	case verbPrepend:
		err = c.join(key, it.Value, opPrepend)
	default:
		it.Token = c.shown(it.Token) // without unique numbers 0, which no item has
		_, err = c.srv.cache.SetItem(key, *it, conditions[v])
	}
	o := outcomeOf(err)
	switch {
	case o == notFound && v != verbCas, o == outcomeTooLarge && (v == verbAppend || v == verbPrepend):
		o = notStored
	case o == outcomeTooLarge:
		c.refuseStore(key, v, o, exptime)
		return c.say(tooLarge)
	case o == outcomeNoMemory:
		c.refuseStore(key, v, o, exptime)
		return c.sayAlways(storeError(err))
	}
	c.recordStore(key, v, o, exptime, len(it.Value))
	return c.say(answers[o])
}

// join executes an append or a prepend.
func (c *conn) join(key, part []byte, op byte) error {
	e := c.edit(&packet{op: op, key: len(key)})
	defer e.end()
	e.part = part
	_, err := c.srv.cache.Compute(key, e.compute)
	if err == nil && e.status != statusOK {
		err = shm.ErrNotFound
	}
	return err
}

// answers has the lines by which a request to store an item is answered.
var answers = [...]string{notStored: "NOT_STORED", stored: "STORED", exists: "EXISTS", notFound: "NOT_FOUND"}

// refuseStore records that a value cannot be stored. A set deletes the earlier one: its client
// believes that it is outdated.
func (c *conn) refuseStore(key []byte, v verb, o outcome, exptime int64) {
	c.recordStore(key, v, o, exptime, 0)
	if v != verbSet {
		return
	}
	c.deleteOutdated(key)
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
