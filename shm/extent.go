package shm

import (
	"context"
	"errors"
	"iter"

	"github.com/seed-869cc763/shmkv/alloc"
)

// Extent is a range of the file data that is one thing.
type Extent struct {
	Offset int64      `json:"offset"`
	Bytes  int64      `json:"bytes"`
	Kind   ExtentKind `json:"kind"`
	// Of a slab, which is blocks of one size, or a run, which is one block.
	BlockBytes int64 `json:"block_bytes,omitempty"`
	Blocks     int   `json:"blocks,omitempty"`  // that it has room for
	Free       int   `json:"free,omitempty"`    // of these
	Retired    int   `json:"retired,omitempty"` // of these, replaced and not yet reclaimed
}

// ExtentKind is the kind of an extent.
type ExtentKind string

// The kinds of extents.
const (
	ExtentTable   ExtentKind = "table"   // header, or a table of pages
	ExtentHole    ExtentKind = "hole"    // free pages without memory behind them
	ExtentFree    ExtentKind = "free"    // free pages
	ExtentReserve ExtentKind = "reserve" // free pages, kept for deletes
	ExtentSlab    ExtentKind = "slab"    // blocks of one size
	ExtentRun     ExtentKind = "run"     // pages that are one block
	ExtentList    ExtentKind = "list"    // lists of retired blocks and of transactions
	ExtentSlot    ExtentKind = "slot"    // pages of writers
	ExtentOther   ExtentKind = "other"   // on the way from one kind to another, or damaged
)

// Extents lists the parts of the file data. One goroutine uses it at a time.
type Extents struct {
	s   *Store
	ctx context.Context
	err error
}

// Extents returns the Extents of the store, to loop over until ctx is done. It works
// while others read and write. Then the picture is approximate. It reads tables and
// lists, not keys and values. Memory: about a sixtieth of the file.
func (in Inspector) Extents(ctx context.Context) *Extents { return &Extents{s: in.s, ctx: ctx} }

// All iterates over all of the file data, in order and without gaps. Each slab and each
// run is one extent; other pages of one kind are put together. If the loop ends early,
// because ctx is done or the store is damaged, Err tells.
func (x *Extents) All() iter.Seq[Extent] {
	return func(yield func(Extent) bool) {
		x.err = nil
		u, ok := x.s.a.Enter()
		if !ok {
			x.err = x.s.fail("mapping", ErrClosed)
			return
		}
		defer x.s.a.Leave(u)
		stopped := false
		err := x.s.a.Extents(x.ctx, func(e alloc.Extent) error {
			stopped = !yield(Extent{int64(e.Off), int64(e.Bytes), ExtentKind(e.Kind), int64(e.BlockSize), e.Blocks, e.Free, e.Retired})
			if stopped {
				return errStopped
			}
			return nil
		})
		if err != nil && !stopped {
			x.err = x.s.fail("mapping", err)
		}
	}
}

// Err returns the error that ended the last loop early, or nil.
func (x *Extents) Err() error { return x.err }

// errStopped: a loop ended by a break.
var errStopped = errors.New("stopped")
