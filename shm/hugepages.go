package shm

import (
	"fmt"

	"github.com/seed-869cc763/shmkv/alloc"
)

// HugePages says when a handle puts huge pages of 2 MiB behind a store. They need a
// tmpfs, with any mount options, and Linux 6.1; elsewhere nothing happens. A get in a
// large store waits for page tables as much as for data, and a huge page spares it that.
//
// Only 2 MiB that have memory throughout become a huge page, so the store takes no more
// memory than before. A huge page serves all handles in all processes, whatever their
// options, and stays until some of its memory is given back or the machine restarts.
// While one is being made, an access to its memory waits for about a millisecond.
type HugePages = alloc.HugePages

const (
	// HugePagesAuto makes huge pages for a store of 64 MiB or more while the handle
	// writes, in the background, and once more when the store has been quiet for some
	// seconds.
	HugePagesAuto = alloc.HugePagesAuto
	// HugePagesOn makes them when the store is opened, which takes up to a millisecond
	// for each 2 MiB, and then as HugePagesAuto does, but for a store of any size.
	HugePagesOn = alloc.HugePagesOn
	// HugePagesOff leaves the memory of the store as it is.
	HugePagesOff = alloc.HugePagesOff
)

// TryHugePages reports whether a store in the directory dir can have huge pages: it
// tries to get one there, for a moment. The error says why not.
func TryHugePages(dir string) error {
	if err := alloc.TryHugePages(dir); err != nil {
		return fmt.Errorf("shm: trying huge pages in %s: %w", dir, err)
	}
	return nil
}
