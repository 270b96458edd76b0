package alloc

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed-869cc763/shmkv/alloc/layout"
	"github.com/seed-869cc763/shmkv/alloc/region"
)

// HugePages says when a handle puts huge pages behind data. Package shm documents it
// for users.
type HugePages int

const (
	HugePagesAuto HugePages = iota
	HugePagesOn
	HugePagesOff
)

// A get in a large store waits for page tables as much as for data, and huge pages spare
// it that. The keeper puts them behind those 2 MiB of data that have memory throughout,
// one after the other, so the file takes no more memory than before. The kernel copies
// the small pages into the huge one. Whoever touches one of them meanwhile waits for it,
// about a millisecond. A hole that is punched later splits the huge page.
//
// Nothing says which pages are huge. A round asks the kernel for all of them, and where
// there is one already the kernel only looks. If there were commits, the next round
// follows after hugePause, or earlier if the store has become quiet. Without commits
// there is another round, at most hugeRetries times, if the kernel was short of something,
// or if holes were punched, which splits huge pages.
const (
	hugeStore   = 64 << 20 // bytes of data from which on HugePagesAuto makes huge pages
	hugePause   = 10 * time.Second
	hugeTime    = time.Millisecond // what one call of Keep spends on them
	hugeRetries = 3
)

// hugeRound is the round of a handle. The keeper uses it alone.
type hugeRound struct {
	data    *os.File // nil if the handle makes no huge pages
	least   uint64   // bytes of data from which on it does
	going   bool
	next    uint64 // where it goes on
	version uint64 // of the store when it began
	began   uint64 // Unix time in nanoseconds, or 0 if there was none
	missed  bool   // small pages may be left, though there was no commit
	retries int    // rounds since the last commit that others followed
}

// begin begins a round if one is due. quiet says that nothing was committed lately.
func (r *hugeRound) begin(a *Arena, now uint64, quiet bool) {
	version, paused := a.Version(), now-r.began >= uint64(hugePause)
	switch {
	case r.going || !r.wanted(a):
		return
	case r.began == 0:
	case version == r.version && r.mayRetry(a):
		if !paused {
			return
		}
		r.retries++
	case version == r.version || !quiet && !paused:
		return
	default:
		r.retries = 0
	}
	r.going, r.next, r.version, r.began, r.missed = true, 0, version, now, false
}

// wanted reports whether the handle makes huge pages in a store of that size.
func (r *hugeRound) wanted(a *Arena) bool { return r.data != nil && a.end.Load() >= r.least }

// mayRetry reports whether another round will be due although there is no commit.
func (r *hugeRound) mayRetry(a *Arena) bool {
	return r.missed && r.retries < hugeRetries && r.wanted(a)
}

// run goes on with the round for a while.
func (r *hugeRound) run(a *Arena) {
	for began := time.Now(); r.going && time.Since(began) < hugeTime; {
		at, found := wholeRange(r.data, r.next)
		if !found || at+region.HugePage > a.end.Load() {
			r.going = false
			return
		}
		r.next = at + region.HugePage
		switch err := a.ro.Collapse(at, region.HugePage); {
		case errors.Is(err, unix.EINVAL): // the file system or the kernel has none, or a hole was punched just now
			r.going = false
		case errors.Is(err, unix.ENOMEM): // no 2 MiB in a row are free
			r.going, r.missed = false, true
		case err != nil: // a page is in use otherwise
			r.missed = true
		}
	}
}

// wholeRange returns where, from an offset on, 2 MiB begin that can be a huge page and
// have memory throughout.
func wholeRange(data *os.File, from uint64) (at uint64, found bool) {
	for at = layout.RoundUp(from, region.HugePage); ; {
		hole, err := data.Seek(int64(at), unix.SEEK_HOLE)
		if err != nil {
			return 0, false // the file has ended
		}
		if uint64(hole) >= at+region.HugePage {
			return at, true
		}
		next, err := data.Seek(hole, unix.SEEK_DATA)
		if err != nil {
			return 0, false
		}
		at = layout.RoundUp(uint64(next), region.HugePage)
	}
}

// makeAllHuge puts huge pages behind all of data that can have them, as far as that is
// possible.
func makeAllHuge(a *Arena, data *os.File) {
	for at := uint64(0); ; at += region.HugePage {
		var found bool
		if at, found = wholeRange(data, at); !found || at+region.HugePage > a.ro.Size() {
			return
		}
		_ = a.ro.Collapse(at, region.HugePage)
	}
}

// TryHugePages puts a huge page behind a file without a name in dir, as a keeper does,
// and returns the reason if that is not possible.
func TryHugePages(dir string) error {
	f, err := os.OpenFile(dir, os.O_RDWR|unix.O_TMPFILE, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if err := fallocate(f, 0, 0, region.HugePage); err != nil {
		return err
	}
	room, err := region.Reserve(1, region.HugePage)
	if err != nil {
		return err
	}
	defer func() { _ = room.Unmap() }()
	m, err := room.Place(0, f, region.HugePage, false)
	if err != nil {
		return err
	}
	if err := m.Collapse(0, region.HugePage); err != nil {
		return fmt.Errorf("collapsing a huge page: %w", err)
	}
	return nil
}
