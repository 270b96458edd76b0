package hamt

import (
	"errors"
	"fmt"
)

// ErrCorrupt is what every [CorruptError] matches.
var ErrCorrupt = errors.New("store is corrupt")

// ErrTooLarge tells that a key is longer than MaxKeyLen or a value longer than
// MaxValueLen.
var ErrTooLarge = errors.New("key or value too large")

// A CorruptError says what is wrong with the memory of a trie. Another process
// wrote it, so it is an error and never a panic.
type CorruptError struct {
	Off             uint64 // where it was seen
	What            string // of what
	Found, Expected string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("%s at offset %#x: found %s, expected %s", e.What, e.Off, e.Found, e.Expected)
}

// Is reports whether target is ErrCorrupt.
func (e *CorruptError) Is(target error) bool { return target == ErrCorrupt }

// corrupt builds a CorruptError. It stays out of its callers' code, which the
// compiler may then keep short.
//
//go:noinline
func corrupt(off uint64, what, expected, found string, args ...any) error {
	return &CorruptError{Off: off, What: what, Expected: expected, Found: fmt.Sprintf(found, args...)}
}
