package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// A space is what a store's files take, in bytes.
type space struct {
	// File is the sum of the files' lengths. It says little where files are sparse: LMDB's, with MDB_WRITEMAP, is
	// as long as its map from the beginning.
	File int64 `json:"fileBytes"`
	// Allocated is what the file system has really given out: for tmpfs, memory.
	Allocated int64 `json:"allocatedBytes"`
}

// spaceOf adds up the files of the store in a directory.
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
	return s, err
}

// sizes measures the space that each peer takes with n entries: loaded, overwritten, and overwritten while
// another process holds one snapshot of the loaded store. Space hardly varies between runs, so it does so once.
func (b *bench) sizes(ctx context.Context, n int) {
	for _, p := range b.peers {
		for _, held := range []bool{false, true} {
			t := b.task(p, "load", n)
			if err := b.sizesOf(ctx, p, t, held); err != nil {
				t.work = "size"
				b.report.fail(p, t, err)
			}
			os.RemoveAll(t.path)
		}
	}
}

func (b *bench) sizesOf(ctx context.Context, p peer, load task, held bool) error {
	progress(ctx, "space, %d entries: %s: load", load.n, p.name)
	load.ops = load.n
	if _, err := runWhole(ctx, p, load); err != nil {
		return err
	}
	row := spaceRow{State: "loaded", Entries: load.n, Peer: p.name}
	var err error
	if row.space, err = spaceOf(load.path); err != nil {
		return err
	}
	row.Peak = row.Allocated

	if held {
		row.State = "overwritten, snapshot held"
		hold := load
		hold.work = "hold"
		holder, err := start(ctx, p, hold)
		if err != nil {
			return err
		}
		defer func() {
			holder.release()
			holder.wait()
		}()
	} else {
		b.report.Space = append(b.report.Space, row)
		row.State = "overwritten"
	}

	progress(ctx, "space, %d entries: %s: %s", load.n, p.name, row.State)
	set := load
	set.work, set.ops = "set", b.overwrites
	peak := watchPeak(set.path)
	r, err := run(ctx, p, set)
	row.Peak = max(row.Peak, peak())
	if err != nil {
		return err
	}
	row.Overwrites, row.Full = r.Ops, r.Full
	if row.space, err = spaceOf(set.path); err != nil {
		return err
	}
	row.Peak = max(row.Peak, row.Allocated)
	b.report.Space = append(b.report.Space, row)
	return nil
}

// watchPeak looks at a store ten times a second until the function that it returns is called, which returns the
// most bytes that were allocated.
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

// A fullError says that a store was full after so many operations.
type fullError struct{ ops int }

func (e fullError) Error() string {
	return fmt.Sprintf("the store was full after %d operations", e.ops)
}
