package memcache

import (
	"strconv"

	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/cache"
)

const badLine = "CLIENT_ERROR bad command line format"

// get answers with the items of the keys in a line.
func (c *conn) get(args [][]byte, line []byte, unique bool) error {
	if len(args) < 2 {
		return c.say("ERROR")
	}
	for _, key := range args[1:] {
		if len(key) > maxKey {
			return c.say(badLine)
		}
	}
	for _, key := range args[1:] {
		if err := c.getOne(key, unique); err != nil {
			return err
		}
	}
	return c.say("END")
}

// headerRoom is the most bytes of the header of a value, without the key.
const headerRoom = len("VALUE  4294967295 1073741824 18446744073709551615\r\n")

// getOne appends an item with its header, or nothing.
func (c *conn) getOne(key []byte, unique bool) error {
	begin := len(c.out)
	room := begin + headerRoom + len(key)
	for cap(c.out) < room {
		c.out = append(c.out[:cap(c.out)], 0)
	}
	it, err := c.srv.cache.AppendItem(c.out[:room], key)
	if err != nil {
		c.out = c.out[:begin]
		if err == shm.ErrNotFound {
			return nil
		}
		return err
	}
	value := it.Value[room:]
	out := appendHeader(it.Value[:begin], key, &it, len(value), unique)
	out = append(out, value...) // moves it down
	c.out = append(out, "\r\n"...)
	return nil
}

// appendHeader appends the line before a value.
func appendHeader(out, key []byte, it *cache.Item, n int, unique bool) []byte {
	out = append(append(out, "VALUE "...), key...)
	out = append(out, ' ')
	out = strconv.AppendUint(out, uint64(it.Flags), 10)
	out = append(out, ' ')
	out = strconv.AppendUint(out, uint64(n), 10)
	if unique {
		out = append(out, ' ')
		out = strconv.AppendUint(out, it.Token, 10)
	}
	return append(out, "\r\n"...)
}
