package cache

import (
	"errors"
	"fmt"

	"github.com/seed-869cc763/shmkv/shm"
)

// The errors of this package, beside those of package shm. Test for them with errors.Is.
var (
	// ErrToken: CompareAndSwap, or a write IfToken, of an item that has another token. It
	// was written since the caller read it.
	ErrToken = errors.New("item has another token")
	// ErrNotNumber: Increment or Decrement of a value that is not a decimal number of 64
	// bits without a sign.
	ErrNotNumber = errors.New("value is not a decimal number of 64 bits without a sign")
)

// fail wraps an error with what was being done. Of a missing key there is nothing to say.
func (c *Cache) fail(op string, key []byte, err error) error {
	if err == nil || err == shm.ErrNotFound {
		return err
	}
	return fmt.Errorf("cache: %s %.40q in region %.40q: %w", op, key, c.region, err)
}
