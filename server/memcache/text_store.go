package memcache

import (
	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/cache"
)

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
