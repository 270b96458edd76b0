//go:build amd64 || arm64

package region

import "unsafe"

// prefetch starts to load a cache line.
//
//go:noescape
func prefetch(p unsafe.Pointer)
