package memcache

import (
	"errors"
	"strconv"

	"github.com/seed-869cc763/shmkv/shm"
)

// delete executes delete <key> [0] [noreply].
func (c *conn) delete(args [][]byte) error {
	if n := len(args); n > 2 {
		zero := string(args[2]) == "0"
		quiet := c.wantsNoReply(args)
		if n == 3 && !zero && !quiet || n == 4 && !(zero && quiet) {
			return c.say(badLine + ".  Usage: delete <key> [noreply]")
		}
	}
	key := args[1]
	if len(key) > maxKey {
		return c.say(badLine)
	}
	existed, err := c.srv.cache.Delete(key)
	if err != nil {
		return c.sayAlways(storeError(err))
	}
	c.recordDelete(key, existed)
	if existed {
		return c.say("DELETED")
	}
	return c.say("NOT_FOUND")
}

// increment executes incr or decr <key> <delta> [noreply].
func (c *conn) increment(args [][]byte, up bool) error {
	c.wantsNoReply(args)
	key := args[1]
	if len(key) > maxKey {
		return c.say(badLine)
	}
	delta, ok := parseUint64(args[2])
	if !ok {
		return c.say("CLIENT_ERROR invalid numeric delta argument")
	}
	p := packet{op: opDecrement}
	if up {
		p.op = opIncrement
	}
	e := c.edit(&p)
	defer e.end()
	e.delta = delta
	_, err := c.srv.cache.Compute(key, e.compute)
	switch {
	case errors.Is(err, shm.ErrFull):
		return c.sayAlways("SERVER_ERROR out of memory")
	case err != nil:
		return c.sayAlways(storeError(err))
	case e.status == statusNotFound:
		c.recordCount(up, false)
		return c.say("NOT_FOUND")
	case e.status == statusNotNumber:
		return c.say(notNumber)
	}
	c.recordCount(up, true)
	if !c.noreply {
		c.out = append(strconv.AppendUint(c.out, e.sum, 10), "\r\n"...)
	}
	return nil
}

const notNumber = "CLIENT_ERROR cannot increment or decrement non-numeric value"

const badExptime = "CLIENT_ERROR invalid exptime argument"

// touch executes touch <key> <exptime> [noreply].
func (c *conn) touch(args [][]byte) error {
	c.wantsNoReply(args)
	key := args[1]
	if len(key) > maxKey {
		return c.say(badLine)
	}
	exptime, ok := parseInt32(args[2])
	if !ok {
		return c.say(badExptime)
	}
	e := c.edit(&packet{op: opTouch})
	defer e.end()
	e.expires = c.srv.expiry(int64(exptime))
	if _, err := c.srv.cache.Compute(key, e.compute); err != nil {
		return c.sayAlways(storeError(err))
	}
	found := e.status == statusOK
	c.recordTouch(key, found, false, 0)
	if found {
		return c.say("TOUCHED")
	}
	return c.say("NOT_FOUND")
}

// getAndTouch executes gat or gats <exptime> <key>*.
func (c *conn) getAndTouch(args [][]byte, rest []byte, unique bool) error {
	exptime, ok := parseInt32(args[1])
	if !ok {
		return c.say(badExptime)
	}
	if !keysFit(args[2:], rest) {
		return c.say(badLine)
	}
	for _, key := range args[2:] {
		if ok, err := c.getAndTouchItem(key, int64(exptime), unique); !ok || err != nil {
			return err
		}
	}
	for key := []byte(nil); rest != nil; {
		if key, rest = nextWord(rest); key == nil {
			break
		}
		if ok, err := c.getAndTouchItem(key, int64(exptime), unique); !ok || err != nil {
			return err
		}
	}
	return c.say("END")
}

// getAndTouchItem gives an item another end, and appends it. If the cache fails the answer is
// its error, and ok is false.
func (c *conn) getAndTouchItem(key []byte, exptime int64, unique bool) (ok bool, err error) {
	if err := c.flushFull(); err != nil {
		return false, err
	}
	// The value comes to where it is if the numbers before it are long.
	c.room(itemRoom + len(key))
	begin := len(c.out)
	place := begin + itemRoom + len(key)
	it, err := c.srv.cache.AppendAndTouch(c.out[:place], key, c.srv.expiry(exptime))
	if err == nil {
		c.out = it.Value[:begin]
		it.Value = it.Value[place:]
		c.appendItem(key, &it, unique)
	} else if err != shm.ErrNotFound {
		return false, c.sayAlways(storeError(err))
	}
	c.recordTouch(key, err == nil, true, len(it.Value)*index(err == nil))
	return true, nil
}
