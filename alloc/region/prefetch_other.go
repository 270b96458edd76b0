//go:build !amd64 && !arm64

package region

import (
	"sync/atomic"
	"unsafe"
)

// prefetch starts to load a cache line: it is a load without a use of its result. The load is
// atomic, because the compiler would drop a plain one. The processor goes on until it has no room
// for more instructions behind one that waits.
func prefetch(p unsafe.Pointer) { atomic.LoadUint64((*uint64)(p)) }
