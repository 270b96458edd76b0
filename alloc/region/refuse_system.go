//go:build !linux

package region

// A store needs features of Linux: locks that belong to an open file description, holes
// punched into files, and futexes in files.
var _ = shmkv_needs_linux
