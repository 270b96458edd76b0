package region

import (
	"errors"
	"fmt"
)

// ErrCorrupt matches every CorruptError with errors.Is.
var ErrCorrupt = errors.New("store is damaged")

// A CorruptError describes an invalid value in a mapping or file.
type CorruptError struct {
	Off   uint64 // offset of the value, in bytes from the start of the file
	What  string // name of the structure or field
	Found string // the value
	Want  string // the expected value or property
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("%v: %s at offset %d: found %s, expected %s", ErrCorrupt, e.What, e.Off, e.Found, e.Want)
}

// Is reports whether target is ErrCorrupt.
func (e *CorruptError) Is(target error) bool { return target == ErrCorrupt }

// Corrupt returns a CorruptError. It formats found with fmt.Sprint.
func Corrupt(off uint64, what string, found any, want string) error {
	return &CorruptError{Off: off, What: what, Found: fmt.Sprint(found), Want: want}
}
