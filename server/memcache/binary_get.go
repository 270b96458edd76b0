package memcache

import (
	"encoding/binary"

	"github.com/seed-869cc763/shmkv/shm/cache"
)

// flagBytes is the length of the extras of an answer with an item: its flags.
const flagBytes = 4

// binaryGets executes a get, and those that follow it in the input, all together.
func (c *conn) binaryGets(p *packet) error {
	first, err := c.in.data(headerBytes + p.key)
	if err != nil {
		return err
	}
	in := &c.in
	begin := in.r - len(first)
	keys := append(c.work.keys[:0], first[headerBytes:])
	for len(keys) < manyKeys {
		n := nextBinaryGet(in.buf[in.r:in.w])
		if n == 0 {
			break
		}
		keys = append(keys, in.buf[in.r+headerBytes:in.r+n])
		in.r += n
		c.answers++
	}
	c.work.keys = keys
	return c.binaryGetMany(keys, in.buf[begin:in.r])
}

// nextBinaryGet returns the length of the get that input begins with, or 0 if it begins with
// anything else.
func nextBinaryGet(input []byte) (n int) {
	if len(input) < headerBytes || input[0] != binaryRequest {
		return 0
	}
	p := readPacket(input)
	if !p.isGet() || p.key > maxKey || !p.valid() || len(input) < headerBytes+p.key {
		return 0
	}
	return headerBytes + p.key
}

func (p *packet) isGet() bool { return p.op == opGet || p.op == opGetK }

// binaryGetMany answers the gets of keys, whose packets are requests. As in getMany, a look at
// the store ends when the output is full, so that nothing is held there while it is written.
func (c *conn) binaryGetMany(keys [][]byte, requests []byte) error {
	many := len(keys)
	for len(keys) > 0 {
		if err := c.flushFull(); err != nil {
			return err
		}
		look, done := keys[:min(many, len(keys))], 0
		err := c.srv.cache.GetMany(look, func(i int, it cache.Item, ok bool) {
			if done < i || len(c.out) >= outputLimit {
				return
			}
			done = i + 1
			p := readPacket(requests)
			requests = requests[headerBytes+p.key:]
			if ok {
				c.answerItem(&p, look[i], &it, true)
			} else {
				if !it.Expires.IsZero() {
					c.counts.add(getExpired, 1)
				}
				c.answerMiss(&p, look[i])
			}
			c.recordGet(look[i], ok, len(it.Value))
		})
		if err != nil {
			for range keys[done:] {
				p := readPacket(requests)
				requests = requests[headerBytes+p.key:]
				c.broken(&p, err, "Out of memory reading item")
			}
			return nil
		}
		if done < len(look) {
			many = max(1, done)
		}
		keys = keys[done:]
	}
	return nil
}

// answerItem answers with an item, or without value with its flags only. Some opcodes want the
// key too.
func (c *conn) answerItem(p *packet, key []byte, it *cache.Item, value bool) {
	if !p.wantsKey() {
		key = nil
	}
	v := it.Value
	if !value {
		v = nil
	}
	body := flagBytes + len(key) + len(v)
	c.room(headerBytes + body)
	c.header(p, statusOK, len(key), flagBytes, body, c.shown(it.Token))
	c.out = binary.BigEndian.AppendUint32(c.out, it.Flags)
	c.out = append(append(c.out, key...), v...)
}

// answerMiss answers that there is no item. The quiet forms do not.
func (c *conn) answerMiss(p *packet, key []byte) {
	switch {
	case p.quiet:
	case p.wantsKey():
		c.header(p, statusNotFound, len(key), 0, len(key), 0)
		c.out = append(c.out, key...)
	default:
		c.refuse(p, statusNotFound)
	}
}

// wantsKey reports whether the answer to a get has the key.
func (p *packet) wantsKey() bool { return p.op == opGetK || p.op == opGatK }

// binaryTouch executes touch, and gat and gatk, which answer with the item too.
func (c *conn) binaryTouch(p *packet, key []byte, exptime uint32) {
	e := c.edit(p)
	defer e.end()
	e.expires, e.answers, e.key, e.begin = c.srv.expiry(int64(exptime)), true, key, len(c.out)
	_, err := c.srv.cache.Compute(key, e.compute)
	hit := err == nil && e.status == statusOK
	switch {
	case err != nil:
		c.out = c.out[:e.begin]
		c.broken(p, err, "Out of memory touching item")
		return
	case !hit:
		c.answerMiss(p, key)
	}
	c.recordTouch(key, hit, false, 0)
	c.tellGet(key, hit, e.size)
}
