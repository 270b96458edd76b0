package alloc

import (
	"maps"
	"slices"

	"github.com/seed-869cc763/shmkv/alloc/layout"
)

// heapJournal is the journal of a heap, and what the disk has of it. A crash of the system
// leaves of each sector what was flushed last, or a version since.
type heapJournal struct {
	now, flushed []byte
	since        map[int][][]byte // by sector: versions since the last flush
}

// heapJournalSize is the size of the journal of a heap. It is full after some ten records.
const heapJournalSize = 16 << 10

const sectorBytes = sectorWords * 8

func (j *heapJournal) clone() *heapJournal {
	if j == nil {
		return nil
	}
	return &heapJournal{slices.Clone(j.now), slices.Clone(j.flushed), maps.Clone(j.since)} // versions are never changed
}

// SetNewer makes handles that attach later write records of the journal.
func (h *Heap) SetNewer(newer Newer) { h.newer = newer }

// Journal is what the journal contains, or nil if there is none.
func (h *Heap) Journal() []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.journal == nil {
		return nil
	}
	return slices.Clone(h.journal.now)
}

// SetJournal replaces the journal by another file, which is on the disk. Handles may have the
// old one open. nil removes it.
func (h *Heap) SetJournal(b []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.journal = nil; b != nil {
		h.journal = &heapJournal{slices.Clone(b), slices.Clone(b), map[int][][]byte{}}
	}
}

// crash makes the journal what the next boot finds: see Heap.Crash. Offsets begin at from.
func (j *heapJournal) crash(from uint64, pick func(off uint64, versions int) int) *heapJournal {
	if j == nil {
		return nil
	}
	disk := slices.Clone(j.flushed)
	for _, s := range slices.Sorted(maps.Keys(j.since)) {
		at := s * sectorBytes
		versions := append([][]byte{j.flushed[at : at+sectorBytes]}, j.since[s]...)
		if i := pick(from+uint64(at), len(versions)); i < 0 {
			clear(disk[at : at+sectorBytes])
		} else {
			copy(disk[at:], versions[i])
		}
	}
	return &heapJournal{disk, slices.Clone(disk), map[int][][]byte{}}
}

// heapJournalFile is the journal as a handle has it open.
type heapJournalFile struct {
	b *heapBacking
	j *heapJournal
}

func (b *heapBacking) openJournal(create bool) (journalFile, error) {
	b.call(0)
	h := b.heap
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.journal == nil {
		if !create {
			return nil, nil
		}
		h.journal = &heapJournal{make([]byte, heapJournalSize), make([]byte, heapJournalSize), map[int][][]byte{}}
	}
	return heapJournalFile{b, h.journal}, nil
}

func (f heapJournalFile) removed() bool {
	f.b.heap.mu.Lock()
	defer f.b.heap.mu.Unlock()
	return f.b.heap.journal != f.j
}

func (f heapJournalFile) read() ([]byte, error) {
	f.b.heap.mu.Lock()
	defer f.b.heap.mu.Unlock()
	return slices.Clone(f.j.now), nil
}

func (f heapJournalFile) size() uint64 { return heapJournalSize }

func (f heapJournalFile) write(b []byte, off uint64) error {
	f.b.call(off)
	f.b.heap.mu.Lock()
	defer f.b.heap.mu.Unlock()
	copy(f.j.now[off:], b)
	for s := int(off) / sectorBytes; s*sectorBytes < int(off)+len(b); s++ {
		f.j.since[s] = append(slices.Clone(f.j.since[s]), slices.Clone(f.j.now[s*sectorBytes:(s+1)*sectorBytes]))
	}
	return nil
}

func (f heapJournalFile) flush() error {
	h := f.b.heap
	f.b.call(0)
	h.mu.Lock()
	if h.disk != nil && h.disk.failing {
		h.mu.Unlock()
		return errDisk
	}
	copy(f.j.flushed, f.j.now)
	clear(f.j.since)
	h.mu.Unlock()
	f.b.call(0)
	return nil
}

func (f heapJournalFile) close() error { return nil }

// journalFrom is where the offsets of the journal begin for the pick function of Crash.
func (h *Heap) journalFrom() uint64 { return uint64(len(h.data))*8 + layout.PageSize }
