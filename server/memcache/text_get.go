package memcache

import (
	"bytes"
	"strconv"

	"github.com/seed-869cc763/shmkv/shm/cache"
)

// get answers with the items of the keys of a line.
func (c *conn) get(args [][]byte, rest []byte, unique bool) error {
	if !keysFit(args[1:], rest) {
		return c.say(badLine)
	}
	keys := append(c.work.keys[:0], args[1:]...)
	if len(keys) == 1 && rest == nil {
		return c.getLines(keys, unique)
	}
	for {
		var key []byte
		for len(keys) < manyKeys && rest != nil {
			if key, rest = nextWord(rest); key != nil {
				keys = append(keys, key)
			}
		}
		c.work.keys = keys
		if ok, err := c.getMany(keys, unique, false); !ok || err != nil {
			return err
		}
		if rest == nil {
			return c.say("END")
		}
		keys = keys[:0]
	}
}

// manyKeys is how many keys are looked up together.
const manyKeys = 64

// getLines answers a get of one key, and those that follow it in the input, all together.
func (c *conn) getLines(keys [][]byte, unique bool) error {
	in := &c.in
	for len(keys) < manyKeys {
		key, n := nextGet(in.buf[in.r:in.w], unique)
		if n == 0 {
			break
		}
		keys = append(keys, key)
		in.r += n
		c.answers++
	}
	c.work.keys = keys
	_, err := c.getMany(keys, unique, true)
	return err
}

// nextGet returns the key of the get, or gets, of one key that input begins with, and the
// length of the line. Without one, or with one that has anything unusual, n is 0.
func nextGet(input []byte, unique bool) (key []byte, n int) {
	prefix := "get "
	if unique {
		prefix = "gets "
	}
	if len(input) <= len(prefix) || string(input[:len(prefix)]) != prefix {
		return nil, 0
	}
	input = input[len(prefix):]
	end := bytes.IndexByte(input[:min(len(input), maxKey+2)], '\n')
	if end < 2 || input[end-1] != '\r' {
		return nil, 0
	}
	key = input[:end-1]
	for _, b := range key {
		if b == ' ' || b == 0 {
			return nil, 0
		}
	}
	return key, len(prefix) + end + 1
}

// keysFit reports whether no key in the words of a line is too long.
func keysFit(keys [][]byte, rest []byte) bool {
	for _, key := range keys {
		if len(key) > maxKey {
			return false
		}
	}
	for key := []byte(nil); rest != nil; {
		if key, rest = nextWord(rest); len(key) > maxKey {
			return false
		}
	}
	return true
}

// nextWord returns the first word of a text, or nil, and what follows it, or nil.
func nextWord(text []byte) (word, rest []byte) {
	text = bytes.TrimLeft(text, " ")
	if len(text) == 0 {
		return nil, nil
	}
	if i := bytes.IndexByte(text, ' '); i >= 0 {
		return text[:i], text[i+1:]
	}
	return text, nil
}

// getMany answers with the items of keys. Each key ends with END if it is a request by itself.
// The output has at most outputLimit bytes, or one item. While the client does not read, nothing
// is held in the store: a look at it ends when the output is full, and another one goes on
// behind the last key after that was written. If the cache fails the answer is its error, and
// ok is false; err ends the connection.
func (c *conn) getMany(keys [][]byte, unique, each bool) (ok bool, err error) {
	s := c.srv
	tells := s.detail.on.Load() || s.watchers.want(watchFetchers)
	most := manyKeys
	for len(keys) > 0 {
		look, done, hits := keys[:min(most, len(keys))], 0, uint64(0)
		err := s.cache.GetMany(look, func(i int, it cache.Item, ok bool) {
			size := itemRoom + len(look[i]) + len(it.Value)
			if done < i || len(c.out) > 0 && len(c.out)+size > outputLimit {
				return
			}
			done = i + 1
			if ok {
				hits |= 1 << i
				c.room(size + len("END\r\n"))
				c.appendItem(look[i], &it, unique)
			} else if !it.Expires.IsZero() {
				c.counts.add(getExpired, 1)
			}
			if tells {
				c.tellGet(look[i], ok, len(it.Value))
			}
			if each {
				c.out = append(c.out, "END\r\n"...)
			}
		})
		c.recordGets(look, hits, done)
		if err != nil {
			for range keys[done:] {
				if _ = c.sayAlways(storeError(err)); !each {
					break
				}
			}
			return false, nil
		}
		keys = keys[done:]
		if done == len(look) {
			most = min(2*most, manyKeys)
			continue
		}
		most = max(1, done)
		if err := c.flush(); err != nil {
			return false, err
		}
	}
	return true, nil
}

// itemRoom is how many bytes an answer with an item has at most, without key and value.
const itemRoom = len("VALUE  4294967295 1073741824 18446744073709551615\r\n\r\n")

// appendItem appends an item as the answer to a get has it. The value may lie behind the
// output, where it comes to, or beyond.
func (c *conn) appendItem(key []byte, it *cache.Item, unique bool) {
	out := append(append(c.out, "VALUE "...), key...)
	out = strconv.AppendUint(append(out, ' '), uint64(it.Flags), 10)
	out = strconv.AppendUint(append(out, ' '), uint64(len(it.Value)), 10)
	if unique {
		out = strconv.AppendUint(append(out, ' '), c.shown(it.Token), 10)
	}
	out = append(append(out, "\r\n"...), it.Value...)
	c.out = append(out, "\r\n"...)
}
