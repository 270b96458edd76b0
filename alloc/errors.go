package alloc

import "errors"

// Errors of this package; package shm wraps them with what was being done.
var (
	ErrFull             = errors.New("store is full")
	ErrTooManyProcesses = errors.New("too many processes")
	ErrTooManyWriters   = errors.New("too many writers")
	ErrTooManyPins      = errors.New("too many snapshots")
	ErrClosed           = errors.New("store is closed")
	ErrReadOnly         = errors.New("store is read-only")
	ErrCannotPin        = errors.New("pinning a version takes write permission on procs")
	ErrInUse            = errors.New("store is in use")
	ErrMoved            = errors.New("store was removed")
)
