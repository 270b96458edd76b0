package memcache

import (
	"encoding/binary"
	"math"
)

// noInitial is the exptime of an increment or decrement that creates no item.
const noInitial = math.MaxUint32

// binaryCount executes increment and decrement. Without an item they make one of the initial
// value.
func (c *conn) binaryCount(p *packet, key, extras []byte) {
	exptime := binary.BigEndian.Uint32(extras[16:])
	e := c.edit(p)
	defer e.end()
	e.delta = binary.BigEndian.Uint64(extras)
	e.initial = binary.BigEndian.Uint64(extras[8:])
	e.creates = exptime != noInitial
	e.expires = c.srv.expiry(int64(exptime))
	it, err := c.srv.cache.Compute(key, e.compute)
	switch {
	case err != nil:
		c.broken(p, err, "Out of memory incrementing value")
		return
	case e.status == statusNotFound:
		c.recordCount(p.op == opIncrement, false)
	case e.status == statusOK && e.created:
		c.srv.noteStored(key)
		c.counts.add(totalItems, 1)
	case e.status == statusOK:
		c.recordCount(p.op == opIncrement, true)
	}
	switch {
	case e.status != statusOK:
		c.refuse(p, e.status)
	case !p.quiet:
		c.header(p, statusOK, 0, 0, 8, c.shown(it.Token))
		c.out = binary.BigEndian.AppendUint64(c.out, e.sum)
	}
}
