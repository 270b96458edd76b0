package shm

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/seed-869cc763/shmkv/alloc"
)

// CompactOptions are for Compact; nil means the defaults.
type CompactOptions struct {
	// Rate bounds how many bytes of keys and values are moved in a second; 0
	// means no bound.
	Rate int64
	// Progress is called now and then, by the goroutine of the caller, with how much
	// of the work is done and how much it is: here, of one pass, in bytes of the file.
	Progress func(done, total int64)
}

// CompactStats is the result of a Compact.
type CompactStats struct {
	Moved      int64 `json:"moved"`       // entries
	MovedBytes int64 `json:"moved_bytes"` // of keys and values
	Passes     int   `json:"passes"`
	Before     int64 `json:"before"` // AllocatedBytes
	After      int64 `json:"after"`
}

// compactPasses bounds the passes of Compact through the store. Beside other writers more
// than one can be useful. A pass that gained less than a sixteenth is the last.
const compactPasses = 3

// Compact gives space back to the file system: it moves entries from sparse pages to free
// space in others, and punches holes in place of the empty pages. Before that it deletes
// what is left of dropped maps. The file keeps its length, and AllocatedBytes falls. A
// write that finds no space moves entries too, as far as it needs.
//
// Compact works beside readers and writers, by ordinary commits of one entry each, so it
// delays them no more than any commit does. The version rises, and Diff shows no change.
// Entries that only snapshots hold cannot be moved. When ctx ends, Compact returns the
// error of ctx and keeps the progress that it has made. Two Compacts at the same time only
// do some work twice.
//
// Handles that write compact by themselves, a little at a time, space that nobody has used
// for some seconds. Compact does it at once, and in stores that nobody writes to any more.
func (s *Store) Compact(ctx context.Context, opts *CompactOptions) (CompactStats, error) {
	if opts == nil {
		opts = &CompactOptions{}
	}
	u, ok := s.a.Enter()
	if !ok {
		return CompactStats{}, s.fail("compacting", ErrClosed)
	}
	defer s.a.Leave(u)
	c := compactor{s: s, ctx: ctx, opts: opts, began: time.Now()}
	c.Before = s.stats().AllocatedBytes
	err := c.run()
	c.After = s.stats().AllocatedBytes
	if err != nil {
		return c.CompactStats, s.fail("compacting", err)
	}
	return c.CompactStats, nil
}

type compactor struct {
	CompactStats
	s     *Store
	ctx   context.Context
	opts  *CompactOptions
	began time.Time
}

func (c *compactor) run() error {
	if err := c.shrink(); err != nil {
		return err
	}
	if err := c.takeApart(); err != nil {
		return err
	}
	for c.Passes < compactPasses {
		before := c.s.stats().AllocatedBytes
		emptied, err := c.pass()
		c.s.newCheckpoint(roomTime) // the last one holds what was moved
		if emptied > 0 {
			c.Passes++
		}
		if e := c.shrink(); err == nil {
			err = e
		}
		if gained := before - c.s.stats().AllocatedBytes; err != nil || gained < before/16 {
			return err
		}
	}
	return nil
}

// pass goes through the file once, and returns how many slabs it emptied.
func (c *compactor) pass() (emptied int, err error) {
	w, err := c.s.writer(alloc.Frees)
	if err != nil {
		return 0, err
	}
	defer w.release()
	move := alloc.Mover{Guard: guarded, Move: func(off, size uint64) (bool, error) { return c.move(w, off, size) }}
	from, end, n := uint64(0), false, 0
	for !end && err == nil {
		from, end, n, err = w.slot.Densify(from, c.step, move)
		emptied += n
	}
	return emptied, err
}

// step tells the user how far it has come, in bytes of the file.
func (c *compactor) step(at uint64) error {
	if c.opts.Progress != nil {
		c.opts.Progress(int64(at), int64(max(at, c.s.a.FileBytes())))
	}
	return c.goOn()
}

// goOn returns the error by which the work ends early.
func (c *compactor) goOn() error {
	if c.s.a.Closed() {
		return ErrClosed
	}
	return c.ctx.Err()
}

// takeApart takes dropped maps apart to the end, unless there is no space for that.
func (c *compactor) takeApart() error {
	w, err := c.s.writer(alloc.Brief | alloc.Frees)
	if err != nil {
		return err
	}
	defer w.release()
	if _, err = w.takeApartFor(math.MaxInt64, c.goOn); errors.Is(err, ErrFull) {
		return nil
	}
	return err
}

// move moves the node in a block, at the rate that the options permit.
func (c *compactor) move(w *writer, off, size uint64) (bool, error) {
	moved, leaf, err := w.moveBlock(off, size)
	if err != nil || !moved {
		return false, err
	}
	if leaf.Off == 0 { // a branch
		return true, nil
	}
	c.Moved++
	c.MovedBytes += leaf.DataBytes()
	if c.opts.Rate <= 0 {
		return true, c.ctx.Err()
	}
	due := c.began.Add(time.Duration(float64(c.MovedBytes) / float64(c.opts.Rate) * float64(time.Second)))
	wait := time.NewTimer(time.Until(due))
	defer wait.Stop()
	select {
	case <-wait.C:
		return true, nil
	case <-c.ctx.Done():
		return true, c.ctx.Err()
	}
}

// shrink gives back the memory of free pages.
func (c *compactor) shrink() error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	w, err := c.s.writer(alloc.Brief | alloc.Frees)
	if err != nil {
		return err
	}
	err = w.slot.Shrink()
	w.release()
	return err
}
