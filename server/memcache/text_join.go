package memcache

import (
	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/cache"
)

// A joiner is an append or a prepend under way. It is part of work, so that the function that
// it gives to the cache is not allocated for each.
type joiner struct {
	c     *conn
	key   []byte
	part  []byte
	front bool   // the part comes before the value
	block *block // has the new value
	fn    func(it cache.Item, exists bool) (cache.Item, shm.Action, error)
}

// join puts part behind the value of an item, or before it.
func (c *conn) join(key, part []byte, front bool) error {
	j := &c.work.join
	j.c, j.key, j.part, j.front = c, key, part, front
	_, err := c.srv.cache.Compute(key, j.fn)
	giveBlock(j.block)
	j.c, j.key, j.part, j.block = nil, nil, nil, nil
	return err
}

// join is the function that join gives to Compute. It may be called several times.
func (j *joiner) join(it cache.Item, exists bool) (cache.Item, shm.Action, error) {
	n := len(it.Value) + len(j.part)
	switch {
	case !exists:
		return it, shm.ActionKeep, shm.ErrNotFound
	case !j.c.fits(len(j.key), it.Flags, n):
		return it, shm.ActionKeep, shm.ErrTooLarge
	}
	if j.block == nil || len(j.block.bytes) < n {
		giveBlock(j.block)
		j.block = takeBlock(n)
	}
	if j.front {
		it.Value = append(append(j.block.bytes[:0], j.part...), it.Value...)
	} else {
		it.Value = append(append(j.block.bytes[:0], it.Value...), j.part...)
	}
	it.Token, it.Marks = 0, 0 // as of a new item
	return it, shm.ActionSet, nil
}
