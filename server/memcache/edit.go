package memcache

import (
	"strconv"
	"time"

	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/cache"
)

// An edit is a change that depends on the item that there is: an append, prepend, delete,
// increment, decrement or touch, of the binary protocol or of the text protocol. What to do is
// given as a packet. The edit is part of work, so that these requests allocate nothing.
type edit struct {
	compute func(it cache.Item, exists bool) (cache.Item, shm.Action, error) // step

	c              *conn
	p              packet
	part           []byte    // append, prepend
	delta, initial uint64    // increment, decrement
	creates        bool      // increment, decrement: without an item they make one
	expires        time.Time // touch, and of an item that is made
	answers        bool      // touch: with the item, for the binary protocol
	key            []byte    // of that answer
	begin          int       // length of the output without it

	status  int
	block   *block // of the new value, if it is a long one
	sum     uint64 // increment, decrement
	created bool
	digits  [32]byte
	size    int // touch: of the value
}

// edit begins an edit. Its end must be called before the next one begins.
func (c *conn) edit(p *packet) *edit {
	e := &c.work.edit
	e.c, e.p = c, *p
	return e
}

// end forgets all of an edit.
func (e *edit) end() {
	giveBlock(e.block)
	*e = edit{compute: e.compute}
}

// step decides in the Compute of the cache. It may run several times.
func (e *edit) step(it cache.Item, exists bool) (cache.Item, shm.Action, error) {
	var do shm.Action
	switch e.p.op {
	case opDelete:
		do = e.remove(&it, exists)
	case opAppend, opPrepend:
		do = e.concat(&it, exists)
	case opIncrement, opDecrement:
		do = e.count(&it, exists)
	default:
		do = e.touch(&it, exists)
	}
	return it, do, nil
}

// refuse decides to change nothing.
func (e *edit) refuse(status int) shm.Action {
	e.status = status
	return shm.ActionKeep
}

// accept decides to write the item with another value and a new token.
func (e *edit) accept(it *cache.Item, value []byte) shm.Action {
	e.status = statusOK
	it.Value, it.Token = value, 0
	return shm.ActionSet
}

// memory returns memory for a value of n bytes.
func (e *edit) memory(n int) []byte {
	if n <= len(e.digits) {
		return e.digits[:0]
	}
	return roomIn(&e.block, n)
}

// differs reports whether the request is for an item with another unique number.
func (e *edit) differs(it *cache.Item) bool {
	return e.p.unique != 0 && e.p.unique != e.c.shown(it.Token)
}

func (e *edit) remove(it *cache.Item, exists bool) shm.Action {
	switch {
	case !exists:
		return e.refuse(statusNotFound)
	case e.differs(it):
		return e.refuse(statusExists)
	}
	e.status = statusOK
	return shm.ActionDelete
}

// concat ignores the unique number of a server without any, as memcached does.
func (e *edit) concat(it *cache.Item, exists bool) shm.Action {
	n := len(it.Value) + len(e.part)
	switch {
	case !exists:
		return e.refuse(statusNotStored)
	case e.differs(it) && !e.c.srv.opts.NoCAS:
		return e.refuse(statusExists)
	case !e.c.fits(e.p.key, it.Flags, n):
		return e.refuse(statusNotStored)
	}
	first, second := it.Value, e.part
	if e.p.op == opPrepend {
		first, second = second, first
	}
	it.Marks = 0 // as of a new item
	return e.accept(it, append(append(e.memory(n), first...), second...))
}

func (e *edit) count(it *cache.Item, exists bool) shm.Action {
	if e.created = !exists; e.created {
		if !e.creates {
			return e.refuse(statusNotFound)
		}
		e.sum = e.initial
		*it = cache.Item{Expires: e.expires}
		return e.accept(it, strconv.AppendUint(e.digits[:0], e.sum, 10))
	}
	if len(it.Value) == 0 {
		return e.refuse(statusNotNumber)
	}
	if e.differs(it) {
		return e.refuse(statusExists)
	}
	sum, ok := counted(it.Value, e.p.op == opIncrement, e.delta)
	if !ok {
		return e.refuse(statusNotNumber)
	}
	e.sum = sum
	return e.accept(it, appendStored(e.memory(len(it.Value)), sum, len(it.Value)))
}

// touch answers while the value is at hand.
func (e *edit) touch(it *cache.Item, exists bool) shm.Action {
	if e.answers {
		e.c.out = e.c.out[:e.begin]
	}
	if !exists {
		e.size = 0
		return e.refuse(statusNotFound)
	}
	e.status, e.size = statusOK, len(it.Value)
	if e.answers {
		e.c.answerItem(&e.p, e.key, it, e.p.op != opTouch)
	}
	it.Expires = e.expires
	return shm.ActionSet
}
