package shm

import (
	"context"

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

// ExtentKind says what an extent is.
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

// Extents calls fn for all of the file data, in order and without gaps, until
// fn returns an error, which it then returns. Each slab and each run is one
// extent; other pages of one kind are put together.
//
// It works while others read and write. Then the picture is approximate.
// It reads tables and lists, not keys and values. Memory: about a sixtieth of the
// file. It ends early, with an error, when ctx is done.
func (s *Store) Extents(ctx context.Context, fn func(Extent) error) error {
	u, ok := s.a.Enter()
	if !ok {
		return s.fail("mapping", ErrClosed)
	}
	defer s.a.Leave(u)
	var failed error
	err := s.a.Extents(ctx, func(e alloc.Extent) error {
		failed = fn(Extent{int64(e.Off), int64(e.Bytes), ExtentKind(e.Kind), int64(e.BlockSize), e.Blocks, e.Free, e.Retired})
		return failed
	})
	if err != nil && failed == nil {
		return s.fail("mapping", err)
	}
	return err
}
