package alloc

import (
	"errors"
	"maps"
	"slices"

	"github.com/seed-869cc763/shmkv/alloc/layout"
)

// heapDisk is what the disk of a test's heap has of data. The kernel may write a page
// back at any time, so a crash of the system leaves of each page what was flushed last, or
// one of the versions since, or sectors of several of them. The file is as long as it was
// at the last flush, or as it is.
type heapDisk struct {
	flushed []uint64
	length  uint64             // of the file, at the last flush
	since   map[int][][]uint64 // by page: versions since the last flush
	begun   int                // flushes that have begun
	flushes int                // flushes that have ended
	latest  int                // of those that have ended, the one that began last
	failing bool               // each flush fails
}

const (
	pageWords   = layout.PageSize / 8
	sectorWords = 512 / 8
)

// UseDisk makes checkpoints of the heap last. What is in it now is on the disk.
func (h *Heap) UseDisk() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.disk = &heapDisk{flushed: slices.Clone(h.data), length: h.length, since: map[int][][]uint64{}}
}

// FailFlushes makes each flush fail from now on, or succeed.
func (h *Heap) FailFlushes(fail bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.disk.failing = fail
}

// Flushes returns how many flushes have ended.
func (h *Heap) Flushes() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.disk.flushes
}

func (d *heapDisk) clone() *heapDisk {
	if d == nil {
		return nil
	}
	c := *d
	c.flushed, c.since = copyWords(d.flushed), maps.Clone(d.since) // versions are never changed
	return &c
}

// flush brings to the disk what data was when flush began. meanwhile is called before it
// ends.
func (h *Heap) flush(meanwhile func()) error {
	h.mu.Lock()
	began, length := copyWords(h.data), h.length
	h.disk.begun++
	number := h.disk.begun
	h.mu.Unlock()
	meanwhile()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.disk.failing {
		return errDisk
	}
	h.disk.flushes++
	if number > h.disk.latest { // else the disk has what is newer
		h.disk.latest, h.disk.length = number, length
		h.disk.flushed, began = began, h.disk.flushed
		clear(h.disk.since)
	}
	giveWords(began)
	return nil
}

var errDisk = errors.New("the disk is broken")

// WriteBack notes the present version of each page that is not on the disk as one that the
// disk may have.
func (h *Heap) WriteBack() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for p := range len(h.data) / pageWords {
		now := h.data[p*pageWords : (p+1)*pageWords]
		last := h.disk.flushed[p*pageWords : (p+1)*pageWords]
		if all := h.disk.since[p]; len(all) > 0 {
			last = all[len(all)-1]
		}
		if !slices.Equal(now, last) {
			h.disk.since[p] = append(h.disk.since[p], slices.Clone(now))
		}
	}
}

// Crash returns what the next boot of the system finds. For each sector of a page that is
// not on the disk as it is now, pick gets its offset and the number of its versions, and
// returns one of them, the oldest is 0, or -1 for a sector that is lost. If the file has
// another length than at the last flush, pick gets the offset behind the largest one, and
// returns which of the two it is. The sectors of the journal follow, from a page behind that
// offset on. Procs is never flushed, and loses its second half.
func (h *Heap) Crash(pick func(off uint64, versions int) int) *Heap {
	h.WriteBack()
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.with(copyWords(h.disk.flushed))
	for _, p := range slices.Sorted(maps.Keys(h.disk.since)) {
		versions := append([][]uint64{h.disk.flushed[p*pageWords : (p+1)*pageWords]}, h.disk.since[p]...)
		for s := 0; s < pageWords; s += sectorWords {
			at := p*pageWords + s
			if i := pick(uint64(at)*8, len(versions)); i < 0 {
				clear(c.data[at : at+sectorWords])
			} else {
				copy(c.data[at:], versions[i][s:s+sectorWords])
			}
		}
	}
	if h.disk.length != h.length && pick(uint64(len(h.data))*8, 2) == 0 {
		c.setLength(h.disk.length)
	}
	c.journal = h.journal.crash(h.journalFrom(), pick)
	clear(c.slots[len(c.slots)/2:])
	c.bootAs = h.bootAs + 1<<32
	c.disk = &heapDisk{flushed: copyWords(c.data), length: c.length, since: map[int][][]uint64{}}
	return c
}

// Unflushed returns the pages that are not on the disk as they are now.
func (h *Heap) Unflushed() []uint64 {
	h.WriteBack()
	h.mu.Lock()
	defer h.mu.Unlock()
	var pages []uint64
	for _, p := range slices.Sorted(maps.Keys(h.disk.since)) {
		pages = append(pages, uint64(p)*layout.PageSize)
	}
	return pages
}
