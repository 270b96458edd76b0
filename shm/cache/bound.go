package cache

import (
	"context"
	"fmt"
)

// SetBytes changes the bound of this handle to what Options.Bytes says, at most MaxSize of the
// store; Stats.Bound tells what it is. The sketch keeps its size.
//
// Under a lower bound SetBytes evicts items until the live blocks fit. It returns earlier if
// nothing is left to evict, as when other maps or snapshots hold the space. The file data
// keeps a length that it has, and does not become longer. What it does not use goes back to
// the file system within some seconds.
func (c *Cache) SetBytes(bytes int64) error {
	if bytes < MinBytes {
		return c.fail("setting the bound", nil, fmt.Errorf("found %d bytes, expected at least %d", bytes, MinBytes))
	}
	was, slack := c.room.bytes.Load(), c.slack()
	if err := c.limit(bytes); err != nil {
		return err
	}
	c.setSlack(int64(float64(slack) / float64(was) * float64(c.room.bytes.Load())))
	for {
		live, settled := c.store.LiveBytes()
		over := live - c.target()
		if over <= 0 || !settled {
			return nil
		}
		// One eviction at a time, so that other writers come in between.
		freed, err := c.Evict(context.Background(), min(over, largeNeed+1))
		if err != nil || freed.Bytes == 0 {
			return err
		}
	}
}
