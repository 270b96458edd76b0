package memcache

import (
	"encoding/binary"
	"errors"

	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/cache"
)

// storeExtras is the length of the extras of set, add and replace: flags and exptime.
const storeExtras = 8

// verb is the command of the text protocol that a request is, for those who count and watch.
// With a unique number each of set, add and replace is a compare-and-swap, as in memcached.
func (c *conn) verb(p *packet) verb {
	switch {
	case p.op == opAppend:
		return verbAppend
	case p.op == opPrepend:
		return verbPrepend
	case p.unique != 0 && !c.srv.opts.NoCAS:
		return verbCas
	case p.op == opAdd:
		return verbAdd
	case p.op == opReplace:
		return verbReplace
	}
	return verbSet
}

// binaryStore executes set, add and replace.
func (c *conn) binaryStore(p *packet) error {
	b, err := c.in.ahead(headerBytes + storeExtras + p.key)
	if err != nil {
		return err
	}
	flags, exptime := binary.BigEndian.Uint32(b[headerBytes:]), int64(binary.BigEndian.Uint32(b[headerBytes+4:]))
	key := b[headerBytes+storeExtras:]
	c.recordArriving(key)
	if !c.fits(p.key, flags, p.value()) {
		c.binaryRefuse(p, key, outcomeTooLarge, exptime)
		c.refuse(p, statusTooLarge)
		return c.in.discard(headerBytes + p.body)
	}
	if b, err = c.in.data(headerBytes + p.body); err != nil {
		return err
	}
	key, value := b[headerBytes+storeExtras:][:p.key], b[headerBytes+storeExtras+p.key:]
	if c.srv.watchers.want(watchFetchers) {
		c.tellStored(key)
	}
	v := c.verb(p)
	it := cache.Item{Value: value, Flags: flags, Expires: c.srv.expiry(exptime), Token: p.unique}
	token, err := c.srv.cache.SetItem(key, it, conditions[v])
	switch o := outcomeOf(err); o {
	case outcomeTooLarge:
		c.binaryRefuse(p, key, o, exptime)
		c.refuse(p, statusTooLarge)
	case outcomeNoMemory:
		c.binaryRefuse(p, key, o, exptime)
		c.broken(p, err, "Out of memory allocating item")
	default:
		c.recordStore(key, v, o, exptime, len(value))
		c.answerStore(p, o, token)
	}
	return nil
}

// answerStore answers a request to store an item, which the cache has carried out or not.
func (c *conn) answerStore(p *packet, o outcome, token uint64) {
	switch o {
	case stored:
		c.done(p, token)
	case notFound:
		c.refuse(p, statusNotFound)
	case exists:
		c.refuse(p, statusExists)
	case notStored:
		if p.op == opAdd {
			c.refuse(p, statusExists)
		} else {
			c.refuse(p, statusNotStored)
		}
	}
}

// binaryRefuse records that a value cannot be stored. A set deletes the earlier one, also a set
// with a unique number.
func (c *conn) binaryRefuse(p *packet, key []byte, o outcome, exptime int64) {
	v := verbSet
	if p.op != opSet {
		v = c.verb(p)
	}
	c.refuseStore(key, v, o, exptime)
}

// binaryConcat executes append and prepend.
func (c *conn) binaryConcat(p *packet) error {
	b, err := c.in.ahead(headerBytes + p.key)
	if err != nil {
		return err
	}
	c.recordArriving(b[headerBytes:])
	if !c.fits(p.key, 0, p.value()) {
		c.recordStore(b[headerBytes:], c.verb(p), outcomeTooLarge, 0, 0)
		c.refuse(p, statusTooLarge)
		return c.in.discard(headerBytes + p.body)
	}
	if b, err = c.in.data(headerBytes + p.body); err != nil {
		return err
	}
	key := b[headerBytes:][:p.key]
	e := c.edit(p)
	defer e.end()
	e.part = b[headerBytes+p.key:]
	it, err := c.srv.cache.Compute(key, e.compute)
	if errors.Is(err, shm.ErrTooLarge) || errors.Is(err, shm.ErrFull) {
		e.status, err = statusNotStored, nil
	}
	if err != nil {
		c.broken(p, err, "")
		return nil
	}
	o := stored
	switch e.status {
	case statusExists:
		o = exists
	case statusNotStored:
		o = notStored
	}
	c.recordStore(key, c.verb(p), o, 0, len(e.part))
	c.answerStore(p, o, it.Token)
	return nil
}

// binaryDelete executes a delete.
func (c *conn) binaryDelete(p *packet, key []byte) {
	e := c.edit(p)
	defer e.end()
	_, err := c.srv.cache.Compute(key, e.compute)
	if err != nil {
		c.broken(p, err, "Out of memory deleting item")
		return
	}
	switch e.status {
	case statusOK:
		c.recordDelete(key, true)
		c.done(p, 0)
	case statusNotFound:
		c.recordDelete(key, false)
		c.refuse(p, e.status)
	default:
		if c.srv.detail.on.Load() {
			c.srv.detail.delete(key) // neither a hit nor a miss
		}
		c.refuse(p, e.status)
	}
}
