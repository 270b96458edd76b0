package alloc

import (
	"context"

	"github.com/seed-869cc763/shmkv/alloc/layout"
)

// Extent is a range of data of one kind.
type Extent struct {
	Off   uint64
	Bytes uint64
	Kind  ExtentKind
	// Of a slab or run.
	BlockSize uint64
	Blocks    int // that it has room for
	Free      int // of these, free: in its bitmap, or in a slot's magazine
	Retired   int // of these, replaced and not yet reclaimed
}

// ExtentKind says what an extent is.
type ExtentKind string

const (
	ExtentTable   ExtentKind = "table"   // header, or a segment's table
	ExtentHole    ExtentKind = "hole"    // free pages without memory behind them
	ExtentFree    ExtentKind = "free"    // free pages
	ExtentReserve ExtentKind = "reserve" // free pages for those who may take the last
	ExtentSlab    ExtentKind = "slab"    // blocks of one size
	ExtentRun     ExtentKind = "run"     // pages that are one block
	ExtentList    ExtentKind = "list"    // pages of queues, logs and deferred blocks
	ExtentSlot    ExtentKind = "slot"    // pages of writers
	ExtentOther   ExtentKind = "other"   // pages on their way from one kind to another, or damaged
)

var extentKinds = map[int]ExtentKind{
	layout.PageHole: ExtentHole, layout.PageFree: ExtentFree, layout.PageReserve: ExtentReserve, layout.PageChunk: ExtentList,
	layout.PageChunkShared: ExtentList, layout.PageSlot: ExtentSlot,
}

// Extents calls visit for all of data, in order and without gaps, until visit
// returns an error. Pages of one kind that follow each other are one extent,
// but each slab and each run is one of its own.
//
// It reads tables and lists, but no blocks, and reads each once. While others write, a
// block that moves between two lists is counted in one, in both or in none.
func (a *Arena) Extents(ctx context.Context, visit func(Extent) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if a.closed.Load() {
		return ErrClosed
	}
	end, err := a.Limit()
	if err != nil {
		return err
	}
	listed, err := a.countListed(ctx, end)
	if err != nil {
		return err
	}

	var last Extent // not visited yet
	var stop uint64 // of the last slab or run
	add := func(e Extent) error {
		if e.Off < stop {
			return nil
		}
		if e.Kind == last.Kind && e.Blocks == 0 && e.Off == last.Off+last.Bytes {
			last.Bytes += e.Bytes
			return nil
		}
		before := last
		last, stop = e, e.Off+e.Bytes
		if before.Bytes == 0 {
			return nil
		}
		return visit(before)
	}
	seg := 0
	err = a.eachPage(ctx, end, func(p uint64, st layout.PageState) error {
		for ; seg < len(layout.Segments) && layout.Segments[seg].Start <= p; seg++ {
			if err := add(Extent{Off: layout.Segments[seg].Start, Bytes: layout.Segments[seg].First - layout.Segments[seg].Start, Kind: ExtentTable}); err != nil {
				return err
			}
		}
		e := Extent{Off: p, Bytes: layout.PageSize, Kind: ExtentOther}
		if kind, ok := extentKinds[st.State()]; ok {
			e.Kind = kind
			return add(e)
		}
		in := listed.counts[p>>layout.PageShift]
		switch c := st.Class(); st.State() {
		case layout.PageRun:
			if k := a.runPages(p); a.checkPages(layout.Desc(p)+layout.DescInfo, "pages of a run", p, k) == nil && p+k<<layout.PageShift <= end {
				e = Extent{p, k << layout.PageShift, ExtentRun, k << layout.PageShift, 1, min(int(in.free), 1), min(int(in.retired), 1)}
			}
		case layout.PageSlabOwned, layout.PageSlabShared:
			if c >= layout.NumClasses || a.checkPages(layout.Desc(p), "slab", p, layout.Classes[c].Pages) != nil || p+layout.Classes[c].Pages<<layout.PageShift > end {
				break
			}
			cl := &layout.Classes[c]
			used := a.usedBlocks(p, c)
			idle := min(int(in.free), used)
			e = Extent{p, cl.Pages << layout.PageShift, ExtentSlab, cl.Size, int(cl.Blocks), int(cl.Blocks) - used + idle, min(int(in.retired), used-idle)}
		}
		return add(e)
	})
	if err != nil {
		return err
	}
	if seg < len(layout.Segments) && layout.Segments[seg].Start < end { // a table at the very end
		if err := add(Extent{Off: layout.Segments[seg].Start, Bytes: end - layout.Segments[seg].Start, Kind: ExtentTable}); err != nil {
			return err
		}
	}
	return visit(last)
}

// listed counts the blocks in lists, which their slab's bitmap counts as not free.
type listed struct {
	checkOnly
	a      *Arena
	counts []listCount // by the first page of the slab or run
}

type listCount struct{ free, retired uint16 }

// countListed follows all lists in the first end bytes. What it cannot follow, it does
// not count.
func (a *Arena) countListed(ctx context.Context, end uint64) (*listed, error) {
	l := &listed{a: a, counts: make([]listCount, end>>layout.PageShift)}
	for i := range min(int(a.ro.Load(layout.OffSlotHigh)), layout.MaxSlots) {
		if w, err := a.walkOf(i); w != nil && err == nil {
			_ = w.visit(l)
		}
	}
	return l, a.eachPage(ctx, end, func(p uint64, st layout.PageState) error {
		if st.State() == layout.PageChunkShared {
			_, _ = a.visitDeferred(p, func(now layout.PageState) bool { return now == st }, l)
		}
		return nil
	})
}

func (l *listed) logged(item, error) error       { return nil }
func (l *listed) retired(all []item)             { l.add(all, listCount{retired: 1}) }
func (l *listed) deferred(_ heldKey, all []item) { l.add(all, listCount{retired: 1}) }
func (l *listed) magazine(all []item)            { l.add(all, listCount{free: 1}) }

// add counts blocks.
func (l *listed) add(all []item, n listCount) {
	for _, e := range all {
		p, c := e.block.Off(), e.block.Class()
		if p >= uint64(len(l.counts))<<layout.PageShift || l.a.checkAllocated(p, c, "listed") != nil {
			continue
		}
		if c != layout.ClassRun {
			p, _ = l.a.slabOf(p, c)
		}
		l.counts[p>>layout.PageShift].free += n.free
		l.counts[p>>layout.PageShift].retired += n.retired
	}
}
