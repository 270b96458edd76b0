package hamt

import (
	"errors"
	"fmt"

	"github.com/seed-869cc763/shmkv/alloc/region"
)

// ErrTooLarge tells that a key is longer than MaxKeyLen or a value longer than
// MaxValueLen.
var ErrTooLarge = errors.New("key or value too large")

// corrupt builds a region.CorruptError. It stays out of its callers' code, which
// the compiler may then keep short.
//
//go:noinline
func corrupt(off uint64, what, want, found string, args ...any) error {
	return region.Corrupt(off, what, fmt.Sprintf(found, args...), want)
}
