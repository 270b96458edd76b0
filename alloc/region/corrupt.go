package region

import (
	"errors"
	"fmt"
)

// ErrCorrupt is matched by every error about a damaged mapping or file.
var ErrCorrupt = errors.New("store is damaged")

// CorruptError says what was found where something else had to be.
type CorruptError struct {
	Off   uint64 // where, in bytes from the start of the file
	What  string // what was read there
	Found string
	Want  string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("%v: %s at offset %d: found %s, expected %s", ErrCorrupt, e.What, e.Off, e.Found, e.Want)
}

// Is makes errors.Is(err, ErrCorrupt) true.
func (e *CorruptError) Is(target error) bool { return target == ErrCorrupt }

// Corrupt builds a CorruptError.
func Corrupt(off uint64, what string, found any, want string) error {
	return &CorruptError{Off: off, What: what, Found: fmt.Sprint(found), Want: want}
}
