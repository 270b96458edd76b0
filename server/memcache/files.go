package memcache

import (
	"sync"
	"sync/atomic"
)

// files are connections by the numbers of their files. An event that comes late may find
// another connection under its number, which it does no harm.
type files struct {
	mu  sync.Mutex // of who changes them
	all atomic.Pointer[[]atomic.Pointer[conn]]
}

// at returns the connection of a file, or nil.
func (f *files) at(fd int) *conn {
	if all := f.all.Load(); all != nil && fd < len(*all) {
		return (*all)[fd].Load()
	}
	return nil
}

// set makes c the connection of a file; nil is none.
func (f *files) set(fd int, c *conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := f.all.Load()
	if all == nil || fd >= len(*all) {
		more := make([]atomic.Pointer[conn], 2*fd+64)
		if all != nil {
			for i := range *all {
				more[i].Store((*all)[i].Load())
			}
		}
		all = &more
		f.all.Store(all)
	}
	(*all)[fd].Store(c)
}
