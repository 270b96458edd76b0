//go:build !linux

package region

// Locks that belong to an open file and die with it, holes punched into a file
// and futexes in it are Linux's.
var _ = shmkv_needs_linux
