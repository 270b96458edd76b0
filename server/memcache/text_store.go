package memcache

import (
	"errors"

	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/cache"
)

// A verb is a command that stores a value.
type verb uint8

const verbSet verb = iota

// store executes a command with a data block.
func (c *conn) store(args [][]byte, v verb) error {
	if len(args) < 5 || len(args) > 6 {
		return c.say("ERROR")
	}
	c.noreply = string(args[len(args)-1]) == "noreply"
	flags, ok1 := parseUint32(args[2])
	exptime, ok2 := parseInt32(args[3])
	size, ok3 := parseInt32(args[4])
	if len(args[1]) > maxKey || !ok1 || !ok2 || !ok3 || size < 0 || size > 1<<31-3 {
		return c.say(badLine)
	}
	key := append(c.work.key[:0], args[1]...)
	if !c.fits(len(key), flags, int(size)) {
		if _, err := c.srv.cache.Delete(key); err != nil {
			return c.sayAlways(storeError(err))
		}
		_ = c.say(tooLarge)
		return c.in.discard(int(size) + 2)
	}
	b, err := c.in.data(int(size) + 2)
	if err != nil {
		return err
	}
	if b[size] != '\r' || b[size+1] != '\n' {
		return c.say("CLIENT_ERROR bad data chunk")
	}
	it := cache.Item{Value: b[:size], Flags: flags, Expires: c.srv.expiry(int64(exptime))}
	if _, err := c.srv.cache.SetItem(key, it, cache.Always); err != nil {
		return c.sayAlways(storeError(err))
	}
	return c.say("STORED")
}

const (
	tooLarge = "SERVER_ERROR object too large for cache"
	noRoom   = "SERVER_ERROR out of memory storing object"
)

// fits reports whether memcached would have room for an item: key, flags, value with its end of
// line, and 50 to 60 bytes beside.
func (c *conn) fits(key int, flags uint32, value int) bool {
	size := 48 + 8 + key + 1 + value + 2
	if flags != 0 {
		size += 4
	}
	return size <= c.srv.opts.ItemSize
}

// storeError returns the line by which a write that the cache refused is answered.
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
