package main

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"syscall"
	"time"
)

// A space is the space of a store's files in bytes.
type space struct {
	// File is the sum of the files' lengths. It means little for sparse files: with MDB_WRITEMAP, LMDB's file is as
	// long as its map from the beginning.
	File int64 `json:"fileBytes"`
	// Allocated is the space that the file system has allocated. On tmpfs this is memory.
	Allocated int64 `json:"allocatedBytes"`
}

// spaceOf returns the space of the files in a store's directory. A peer without files has no directory.
func spaceOf(dir string) (s space, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		s.File += info.Size()
		s.Allocated += info.Sys().(*syscall.Stat_t).Blocks * 512
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return s, err
}

// A life is a sequence of states of a store whose space is measured. change takes the store from one state to the
// next.
type life struct {
	states []string
	live   func(ctx context.Context, b *bench, w *spaceWatch) error
}

// States of a store that has a goal in them.
const (
	stateLoaded      = "loaded"
	stateOverwritten = "overwritten"
)

// A store has two lives. In the first one it is loaded, overwritten and emptied. In the second one it is loaded, then
// overwritten while another process holds a snapshot, and overwritten again without the snapshot.
var lives = []life{
	{[]string{stateLoaded, stateOverwritten, "everything deleted"}, plainLife},
	{[]string{"loaded again", "overwritten, snapshot held", "snapshot closed, overwritten again"}, heldLife},
}

// sizes measures the space of each peer with n entries. It does so once, because space hardly varies between runs.
// Peers without files have no space.
func (b *bench) sizes(ctx context.Context, n int) {
	for _, p := range b.peers {
		for _, life := range lives {
			t := b.task(p, "load", n)
			w := &spaceWatch{p, b.quietAfter(p, t), spaceRow{Entries: n, Peer: p.name}, life.states, b.meter}
			drop, err := b.makeStore(ctx, p, t)
			if err == nil {
				err = life.live(ctx, b, w)
			}
			drop()
			for _, state := range w.next {
				b.meter.skip(stepOf(p, "size, "+state, t))
			}
			if err != nil {
				t.work = "size"
				b.fail(ctx, p, t, err)
			}
		}
	}
}

// expectSizes tells the meter the steps of sizes.
func (b *bench) expectSizes(ns []int) {
	for _, n := range ns {
		for _, p := range b.peers {
			for _, life := range lives {
				for _, state := range life.states {
					b.meter.expect(stepOf(p, "size, "+state, b.task(p, "load", n)), 1)
				}
			}
		}
	}
}

func plainLife(ctx context.Context, b *bench, w *spaceWatch) error {
	if err := w.change(ctx, "load", w.task.n); err != nil {
		return err
	}
	if w.row.Allocated == 0 {
		return errUnsupported
	}
	b.report.Space = append(b.report.Space, w.row)
	if err := w.change(ctx, "set", b.overwrites); err != nil {
		return err
	}
	b.report.Space = append(b.report.Space, w.row)
	if err := w.change(ctx, "delete", w.task.n); err != nil {
		return err
	}
	b.report.Space = append(b.report.Space, w.row)
	return nil
}

func heldLife(ctx context.Context, b *bench, w *spaceWatch) error {
	if w.peer.alone {
		return errUnsupported // no other process can hold a snapshot
	}
	if err := w.change(ctx, "load", w.task.n); err != nil {
		return err
	}
	hold := w.task
	hold.work = "hold"
	holder, err := start(ctx, w.peer, hold)
	if err != nil {
		return err
	}
	err = w.change(ctx, "set", b.overwrites)
	holder.release()
	if _, failed := holder.wait(); err != nil || failed != nil {
		return errors.Join(err, failed)
	}
	b.report.Space = append(b.report.Space, w.row)
	if err := w.change(ctx, "set", b.overwrites); err != nil {
		return err
	}
	b.report.Space = append(b.report.Space, w.row)
	return nil
}

// A spaceWatch measures the space of one store while it changes.
type spaceWatch struct {
	peer peer
	task task
	row  spaceRow // the state after the last change
	next []string // the remaining states
	*meter
}

// change takes the store to its next state, waits for a while, and measures the space. It also measures the peak.
func (w *spaceWatch) change(ctx context.Context, work string, ops int) error {
	state := w.next[0]
	w.next = w.next[1:]
	defer w.begin(ctx, stepOf(w.peer, "size, "+state, w.task), outsideRounds)()
	t := w.task
	t.work, t.ops = work, ops
	peak := watchPeak(t.path)
	r, err := run(ctx, w.peer, t)
	w.row.Peak = peak()
	if err != nil {
		return err
	}
	w.row.State, w.row.Full, w.row.Overwrites = state, r.Full, 0
	if work == "set" {
		w.row.Overwrites = r.Ops
	}
	w.row.Goal = goalOfSpace(w.peer, state, t.n)
	w.row.space, err = spaceOf(t.path)
	w.row.Peak = max(w.row.Peak, w.row.Allocated)
	return err
}

// watchPeak measures the allocated bytes of a store ten times a second. The returned function ends this and returns
// the peak.
func watchPeak(dir string) func() int64 {
	stop, peak := make(chan struct{}), make(chan int64)
	go func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		var most int64
		for {
			select {
			case <-tick.C:
				if s, err := spaceOf(dir); err == nil {
					most = max(most, s.Allocated)
				}
			case <-stop:
				peak <- most
				return
			}
		}
	}()
	return func() int64 { close(stop); return <-peak }
}
