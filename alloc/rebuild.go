package alloc

import (
	"errors"
	"fmt"
	"time"

	"github.com/seed-869cc763/shmkv/alloc/layout"
	"github.com/seed-869cc763/shmkv/alloc/region"
)

// After a crash of the system a store goes back to its newest checkpoint. What that
// reaches is as it was. Nothing else is believed: not tables and bitmaps, nor hints,
// slots, the end, or blocks of newer versions. A newer node may lead to a block of which
// the disk has an earlier life, with a checksum and a birth that are right. So all of it is
// made anew: the layer above visits each block that the checkpoint reaches, and whatever it does not
// visit is free.
//
// If records of the journal follow the checkpoint, their blocks are written to their places
// first, and the version of the last record takes the place of the checkpoint's. Then blocks
// that only the checkpoint reaches are free. So a checkpoint of that version is taken before
// anybody writes.
//
// Nothing that the checkpoint reaches is written to, but for the mark of its root node, which
// nobody reads before the next commit. The word boot comes last. So a recovery that dies is
// followed by another one from the same checkpoint. A recovery without records flushes nothing:
// a crash of the system, even long after it, is followed by another one, too.

// A Tracer visits each block but the root node that a version reaches, in data below end,
// and proves what is in them. It calls found with the size that was asked for.
type Tracer func(a *Arena, root Root, found func(off, size uint64) error) (Traced, error)

// Traced is what a Tracer has found.
type Traced struct {
	Entries int64
	Changed int64 // entries that are not as they were written
}

// A Recovery tells what a recovery after a crash of the system has found.
type Recovery struct {
	Version  uint64        // of the checkpoint, or of the last record of the journal
	Records  int           // of the journal, which followed the checkpoint
	Age      time.Duration // of that version, when the recovery began
	Traced                 // in it
	Bytes    int64         // of the blocks that it reaches
	Duration time.Duration // of the recovery
	Distrust error         // why the newest version was not trusted, if that was tried; nil otherwise
}

// Recovered returns what the opening of this handle has recovered, or nil.
func (a *Arena) Recovered() *Recovery { return a.recovered }

// rebuild makes the store the newest checkpoint, with the records that follow it. The caller
// holds the boot lock.
func (a *Arena) rebuild() error {
	began := time.Now()
	c, r, distrust, err := a.recoverable()
	if err != nil {
		return err
	}
	to := r.after(c)
	a.debug("recovering from a crash of the system", "version", to.Version, "taken", to.At(), "records", len(r.records))
	if err := a.replay(r, to.End); err != nil {
		return fmt.Errorf("writing the blocks of the journal to their places: %w", err)
	}
	root, err := a.checkpointRoot(to)
	if err != nil {
		return err
	}
	if err := a.clearTables(to.End); err != nil {
		return err
	}
	claims := claimQueue{a: a, end: to.End}
	rec, err := a.traceCheckpoint(to, root, claims.add)
	if err == nil {
		err = claims.finish()
	}
	if err != nil {
		return err
	}
	rec.Distrust, rec.Records = distrust, len(r.records)
	if err := a.b.truncate(to.End); err != nil { // what follows is not that of a table
		return err
	}
	if err := a.freeRest(to.End); err != nil {
		return err
	}
	a.resetHeader(root, to.End)
	if len(r.records) > 0 {
		if err := a.flush(); err != nil {
			return err
		}
		if c, err = a.writeCheckpoint(root, to.End); err != nil {
			return err
		}
	}
	a.mem.Store(layout.OffKept, c.Version)
	a.beginJournal(c)
	a.mem.Store(layout.OffBoot, uint64(a.b.boot()))
	rec.Duration = time.Since(began)
	a.recovered = rec
	a.debug("recovered from a crash of the system", "version", rec.Version, "age", rec.Age, "records", rec.Records, "entries", rec.Entries, "changed", rec.Changed, "bytes", rec.Bytes, "duration", rec.Duration)
	return nil
}

// dryRebuild finds out what rebuild would do. It traces the checkpoint without the records,
// which it cannot write to their places.
func (a *Arena) dryRebuild() error {
	began := time.Now()
	c, r, distrust, err := a.recoverable()
	if err != nil {
		return err
	}
	root, err := a.checkpointRoot(c)
	if err != nil {
		return err
	}
	rec, err := a.traceCheckpoint(c, root, func(off, size uint64) error {
		_, err := placeOf(off, size, c.End)
		return err
	})
	if err != nil {
		return err
	}
	to := r.after(c)
	rec.Version, rec.Age, rec.Records = to.Version, time.Since(to.At()), len(r.records)
	rec.Distrust, rec.Duration = distrust, time.Since(began)
	a.recovered = rec
	return nil
}

// recoverable returns the checkpoint that a recovery goes back to, and the records that
// follow it. If the newest version was to be tried, it returns why it is not trusted. From
// then on the handle touches all that the checkpoint may lie in.
func (a *Arena) recoverable() (c layout.Checkpoint, r replayed, distrust, err error) {
	c, _ = a.newestCheckpoint()
	if c.Version == 0 {
		return c, r, nil, fmt.Errorf("%w: found no checkpoint that is whole", ErrRecover)
	}
	if a.trace == nil {
		return c, r, nil, fmt.Errorf("%w, which this opening cannot do", ErrRecover)
	}
	if r, err = a.readJournal(c); err != nil {
		return c, r, nil, fmt.Errorf("%w: %w", ErrRecover, err)
	}
	if a.prove != nil {
		newest, err := a.proveNewest(c, r.after(c).Version)
		if err == nil && newest.Version > c.Version {
			return newest, replayed{}, nil, nil
		}
		distrust = err
		if err != nil {
			a.debug("the newest version is not trusted", "err", err)
		}
		a.end.Store(0) // it has come from what is not believed
	}
	return c, r, distrust, nil
}

// proveNewest returns the newest version as a checkpoint, if all that it reaches is its own,
// and if it is newer than durable, which the checkpoint and the journal lead to. If it is that
// version, proveNewest returns c. What stands on the disk now was read from there after the
// crash, so no flush is needed before its record is written.
func (a *Arena) proveNewest(c layout.Checkpoint, durable uint64) (layout.Checkpoint, error) {
	if err := a.checkHeader(); err != nil {
		return c, err
	}
	word, version := a.current()
	root, err := a.rootNode(word, version)
	switch {
	case err != nil:
		return c, err
	case version < durable:
		return c, region.Corrupt(layout.OffRoot, "version of the root word", version, fmt.Sprintf("at least that of the checkpoint and the journal, %d", durable))
	case version == durable:
		return c, nil
	}
	newest := layout.Checkpoint{Version: version, Root: root.Off, End: a.end.Load(), Time: time.Now().UnixNano()}
	if _, err := a.prove(a, root, func(off, size uint64) error {
		a.getsOn()
		_, err := placeOf(off, size, newest.End)
		return err
	}); err != nil {
		return c, err
	}
	if a.dryRecovery {
		return newest, nil
	}
	return a.writeCheckpoint(root, newest.End)
}

// traceCheckpoint calls found for each block that a checkpoint reaches.
func (a *Arena) traceCheckpoint(c layout.Checkpoint, root Root, found func(off, size uint64) error) (*Recovery, error) {
	rec := &Recovery{Version: c.Version, Age: time.Since(c.At())}
	blocks, logged := 0, time.Now()
	count := func(off, size uint64) error {
		rec.Bytes += int64(layout.BlockSize(size))
		if blocks++; blocks%1024 == 0 {
			a.getsOn()
			if time.Since(logged) > time.Second {
				logged = time.Now()
				a.debug("tracing a checkpoint", "blocks", blocks, "bytes", rec.Bytes)
			}
		}
		return found(off, size)
	}
	err := count(root.Off, layout.RootSize)
	if err == nil {
		rec.Traced, err = a.trace(a, root, count)
	}
	if err != nil {
		return nil, fmt.Errorf("tracing the checkpoint of version %d: %w", c.Version, err)
	}
	return rec, nil
}

// getsOn tells those who wait for the recovery that it gets on.
func (a *Arena) getsOn() {
	if a.Writable() {
		a.mem.Add(layout.OffTraced, 1)
	}
}

// checkpointRoot returns the root of a checkpoint.
func (a *Arena) checkpointRoot(c layout.Checkpoint) (Root, error) {
	if _, err := a.checkEnd(c.End); err != nil {
		return Root{}, err
	}
	if c.Root%8 != 0 || c.Root < layout.Segments[0].First || c.Root > c.End-layout.RootSize {
		return Root{}, region.Corrupt(layout.OffCkpts, "root of a checkpoint", fmt.Sprintf("%#x", c.Root), fmt.Sprintf("an offset below %#x", c.End))
	}
	if birth := a.ro.Word(c.Root + layout.RootBirth); birth != c.Version {
		return Root{}, region.Corrupt(c.Root, "birth of the root node of a checkpoint", birth, fmt.Sprint(c.Version))
	}
	return Root{c.Root, c.Version}, nil
}

// clearTables clears the tables of the segments below end.
func (a *Arena) clearTables(end uint64) error {
	for i := range layout.Segments {
		g := &layout.Segments[i]
		if g.Start >= end {
			break
		}
		if err := a.b.back(g.Hints, g.First-g.Hints); err != nil {
			return err
		}
		a.mem.Zero(g.Hints, g.First-g.Hints)
		a.getsOn()
	}
	return nil
}

// A claimQueue claims the blocks that a recovery finds. It claims each some blocks later,
// because the descriptors of pages are not in the processor's cache: it has begun to load
// them by then.
type claimQueue struct {
	a       *Arena
	end     uint64
	pending [32]place
	added   int
}

func (q *claimQueue) add(off, size uint64) error {
	p, err := placeOf(off, size, q.end)
	if err != nil {
		return err
	}
	next := &q.pending[q.added%len(q.pending)]
	if q.added >= len(q.pending) {
		err = q.a.claimTraced(*next)
	}
	q.a.mem.Prefetch(layout.Desc(p.first))
	*next = p
	q.added++
	return err
}

// finish claims the last blocks.
func (q *claimQueue) finish() error {
	for _, p := range q.pending[:min(q.added, len(q.pending))] {
		if err := q.a.claimTraced(p); err != nil {
			return err
		}
	}
	return nil
}

// A place is where a block lies.
type place struct {
	off          uint64 // of the block
	first, pages uint64 // of the slab or run
	bit          uint64 // of the block in its slab
	state, class int    // of the pages
}

// placeOf returns the place of a block in data below end.
func placeOf(off, size, end uint64) (place, error) {
	p := place{off: off, first: off, pages: layout.RoundUp(size, layout.PageSize) >> layout.PageShift, state: layout.PageRun}
	ok := off%layout.PageSize == 0
	if class := layout.ClassOf(size); class != layout.ClassRun {
		p.state, p.class, p.pages = layout.PageSlabShared, class, layout.Classes[class].Pages
		p.first, p.bit, ok = layout.SlabAt(off, class)
	}
	g := layout.SegmentOf(min(p.first, layout.MaxSize-1))
	limit := min(end, g.Stop)
	// The sums of hostile words could pass 2^64.
	if !ok || size > end || p.first < g.First || p.first > limit || p.pages*layout.PageSize > limit-p.first {
		return p, region.Corrupt(off, "block of a checkpoint", off, fmt.Sprintf("the place of a block of %d bytes", size))
	}
	return p, nil
}

// claimTraced notes in the tables that a block is in use. It refuses blocks that overlap.
func (a *Arena) claimTraced(p place) error {
	off, first := p.off, p.first
	taken := layout.MakeState(p.state, p.class, 0, 1)
	if now := a.page(first); now == 0 {
		for i := uint64(1); i < p.pages; i++ {
			d := layout.Desc(first + i*layout.PageSize)
			if a.ro.Load(d+layout.DescState) != 0 {
				return overlap(off)
			}
			a.mem.SetWord(d+layout.DescInfo, first)
			a.mem.SetWord(d+layout.DescState, uint64(layout.MakeState(layout.PageCont, 0, 0, 1)))
		}
		a.mem.SetWord(layout.Desc(first)+layout.DescInfo, p.pages)
		a.mem.SetWord(layout.Desc(first)+layout.DescState, uint64(taken))
	} else if now != taken || p.state == layout.PageRun {
		return overlap(off)
	}
	if p.state == layout.PageRun {
		return nil
	}
	at, mask := layout.Bit(first, p.bit)
	word := a.ro.Load(at)
	if word&mask != 0 {
		return overlap(off)
	}
	a.mem.SetWord(at, word|mask)
	return nil
}

func overlap(off uint64) error {
	return region.Corrupt(off, "block of a checkpoint", "a block in its place", "none")
}

// freeRest frees the pages below end that no block lies in, and announces what is free.
func (a *Arena) freeRest(end uint64) error {
	var free, reserve uint64
	var holes []uint64 // some of them, for the reserve
	set := func(p uint64, state int) {
		a.mem.SetWord(layout.Desc(p)+layout.DescState, uint64(layout.MakeState(state, 0, 0, 1)))
	}
	at, stop := uint64(0), uint64(0) // memory
	ranges := a.b.ranges(end)
	for i := range layout.Segments {
		g := &layout.Segments[i]
		for p := g.First; p < min(g.Stop, end); p += layout.PageSize {
			if a.page(p) != 0 {
				continue
			}
			for stop < p+layout.PageSize && len(ranges) > 0 {
				at, stop, ranges = ranges[0][0], ranges[0][1], ranges[1:]
			}
			switch {
			case at > p || p+layout.PageSize > stop:
				if len(holes) < layout.ReservePages {
					holes = append(holes, p)
				}
			case reserve < a.reserve():
				set(p, layout.PageReserve)
				reserve++
			default:
				set(p, layout.PageFree)
				free++
			}
		}
		a.getsOn()
	}
	punched := uint64(0)
	if len(holes) > 0 {
		punched = uint64(time.Now().UnixNano())
	}
	for _, p := range holes {
		if reserve == a.reserve() {
			break
		}
		if err := a.b.back(p, layout.PageSize); errors.Is(err, ErrFull) {
			break // the pages that are freed first fill the reserve up
		} else if err != nil {
			return err
		}
		set(p, layout.PageReserve)
		reserve++
	}
	a.mem.Store(layout.OffFreePages, free)
	a.mem.Store(layout.OffReserve, reserve)
	a.mem.Store(layout.OffPunched, punched)
	a.mem.Zero(layout.OffSegHints, layout.MaxSegments*8)
	for i := range layout.Segments {
		g := &layout.Segments[i]
		for p := g.First; p < min(g.Stop, end); p += layout.PageSize {
			if bit := hintBit(a.page(p)); bit >= 0 && a.offers(p, a.page(p), 1<<bit) {
				a.hint(p, bit)
			}
		}
	}
	return nil
}

// resetHeader makes a version the current one, with no slots.
func (a *Arena) resetHeader(root Root, end uint64) {
	a.mem.Zero(layout.OffOwners, layout.OffCkpts-layout.OffOwners)
	for _, off := range []uint64{layout.OffGate, layout.OffSlotHigh, layout.OffKeeper, layout.OffIdleSince, layout.OffIdleLow, layout.OffKeeping, layout.OffFlushFailed,
		layout.OffCkptCount, layout.OffCkptTime} {
		a.mem.Store(off, 0)
	}
	a.mem.SetWord(root.Off+layout.RootSuperseded, 0)
	a.mem.Store(layout.OffEnd, end)
	a.mem.Store(layout.OffHorizon, root.Version)
	a.mem.Store(layout.OffRoot, uint64(layout.MakeRoot(root.Off, root.Version)))
}
