package alloc

import (
	"errors"
	"fmt"
	"time"

	"github.com/seed-869cc763/shmkv/alloc/layout"
	"github.com/seed-869cc763/shmkv/alloc/region"
)

// A journal makes single commits durable. A checkpoint flushes all pages that have changed
// since the last one, and they lie anywhere in data. A record of the journal has only the
// blocks that are new since the last record, one behind the other in a file of its own.
// After a crash of the system a recovery writes the blocks of all records that follow the
// newest checkpoint to their places in data. The journal has a fixed size. When it is full,
// a checkpoint makes it empty.
//
// A block is new if it was born after the last record's version. Blocks are never changed, so
// all others are in the checkpoint or in an earlier record. The checkpoint stays pinned. So
// nothing that a recovery writes is a block of the checkpoint, and if the journal is lost, the
// store goes back to the checkpoint.
//
// The words, which the holder of the lock for checkpoints writes:
//
//	durable       the newest version that survives a crash of the system
//	journal base  the checksum of the checkpoint that the journal follows
//	journal at    where the next record begins
//	journal last  the checksum of the last record, or of the checkpoint
//
// The steps of a record, and what a crash of the system and a death leave after each:
//
//  1. If keeping is not 0, a process died. Take a checkpoint instead, and also if the base is
//     not that of the newest checkpoint.
//  2. Pin the current version by keeping, and read the end. Collect the blocks. Death: the
//     next holder begins at step 1.
//  3. Write the record behind the last one. It names the checksum of what it follows. Crash:
//     the record, or a torn one, which ends the journal. Death: as after step 2.
//  4. Flush it. Crash: the record. Death: as after step 2.
//  5. Set at, last and durable, then keeping to 0. Death: as after step 2, or done.
//
// A checkpoint sets the words when it is on disk, before it sets keeping to 0. A crash of the
// system before it is there leads to the older checkpoint, and to the records that follow that
// one.
//
// Only a handle with Options.Newer writes records, and a checkpoint takes the place of a
// record where there is no journal and no room in it. Every recovery reads the journal.

// A Newer visits each block but the root node that a version reaches and that was born after
// another version. It calls visit with the size that was asked for.
type Newer func(a *Arena, root Root, after uint64, visit func(off, size uint64) error) error

// A journalFile is the file of a journal. All but read is called by the holder of the lock
// for checkpoints.
type journalFile interface {
	read() ([]byte, error)
	size() uint64
	write(b []byte, off uint64) error
	// flush brings what was written to the disk.
	flush() error
	// removed reports whether the file has no name any more.
	removed() bool
	close() error
}

// A journal is what a handle knows of the store's journal.
type journal struct {
	file   journalFile // nil: it is not open
	failed bool        // there is none for this handle
	buf    []byte
}

// keptBuffer is the most bytes of a buffer for records that a handle keeps.
const keptBuffer = 64 << 10

// errNoRecord: a checkpoint is to be taken instead of a record.
var errNoRecord = errors.New("no record can be written")

// Durable returns the newest version that survives a crash of the system, or 0.
func (a *Arena) Durable() uint64 { return a.ro.Load(layout.OffDurable) }

// Persist returns when the current version survives a crash of the system, by a record of
// the journal or a checkpoint. Otherwise it is as Checkpoint.
func (a *Arena) Persist(patience time.Duration) error {
	return a.makeDurable(patience, a.Durable, a.persist)
}

// persist writes a record, or takes a checkpoint. The caller holds the lock.
func (a *Arena) persist() error {
	if err := a.flushFailed(); err != nil {
		return err
	}
	err := a.record()
	if err == nil || errors.Is(err, ErrFlush) {
		return err
	}
	if err != errNoRecord {
		a.debug("taking a checkpoint, because the journal cannot be written", "err", err)
	}
	return a.timedCheckpoint()
}

// record writes a record for the current version. The caller holds the lock.
func (a *Arena) record() error {
	newest, _ := a.newestCheckpoint()
	if a.newer == nil || a.ro.Load(layout.OffKeeping) != 0 || a.ro.Load(layout.OffJournalBase) != newest.Sum(a.super.ID) { // 1
		return errNoRecord
	}
	file, err := a.openedJournal()
	if err != nil {
		return err
	}
	word, version := a.pinVersionAt(a.mem, layout.OffKeeping) // 2
	defer a.mem.Store(layout.OffKeeping, 0)
	root, err := a.rootNode(word, version)
	if err != nil {
		return err
	}
	end, err := a.Limit()
	if err != nil {
		return err
	}
	at := a.ro.Load(layout.OffJournalAt)
	b, err := a.collect(root, file.size()-min(at, file.size()))
	if err != nil {
		return err
	}
	rec := layout.JournalRecord{Before: a.ro.Load(layout.OffJournalLast), Version: version, Root: root.Off, End: end, Time: time.Now().UnixNano()}
	rec.Finish(b)
	if err := file.write(b, at); err != nil { // 3
		a.giveUpJournal()
		return fmt.Errorf("writing the journal: %w", err)
	}
	if err := file.flush(); err != nil { // 4
		return a.noteFlushFailed(err)
	}
	a.mem.Store(layout.OffJournalAt, at+layout.RoundUp(uint64(len(b)), layout.JournalAlign)) // 5
	a.mem.Store(layout.OffJournalLast, rec.Sum)
	a.mem.Store(layout.OffDurable, version)
	return nil
}

// collect returns a record without its head: the blocks of a version that are not durable. It
// is valid until the next call. If it would be longer than room, collect returns errNoRecord.
func (a *Arena) collect(root Root, room uint64) ([]byte, error) {
	b := append(a.journal.buf[:0], make([]byte, layout.JournalHeadSize)...)
	add := func(off, size uint64) error {
		if uint64(len(b))+16+layout.RoundUp(size, 8) > room {
			return errNoRecord
		}
		b = a.ro.AppendTo(layout.AppendJournalBlock(b, off, size), off, layout.RoundUp(size, 8))
		return nil
	}
	err := add(root.Off, layout.RootSize)
	if err == nil {
		err = a.newer(a, root, a.Durable(), add)
	}
	if a.journal.buf = b; cap(b) > keptBuffer {
		a.journal.buf = nil
	}
	return b, err
}

// beginJournal empties the journal: it follows a checkpoint that is on disk. Records that are
// in the file follow something else.
func (a *Arena) beginJournal(c layout.Checkpoint) {
	base := c.Sum(a.super.ID)
	a.mem.Store(layout.OffJournalBase, base)
	a.mem.Store(layout.OffJournalAt, 0)
	a.mem.Store(layout.OffJournalLast, base)
	a.mem.Store(layout.OffDurable, c.Version)
}

// openedJournal returns the file of the journal, which it makes if there is none. It fails
// at once if it has failed before.
func (a *Arena) openedJournal() (journalFile, error) {
	j := &a.journal
	if j.file != nil && j.file.removed() {
		_ = j.file.close()
		j.file = nil
	}
	if j.file != nil {
		return j.file, nil
	}
	if j.failed {
		return nil, errNoRecord
	}
	file, err := a.b.openJournal(false)
	made := err == nil && file == nil
	if made { // the records in a file that was removed are gone
		a.mem.Store(layout.OffJournalBase, 0)
		file, err = a.b.openJournal(true)
	}
	if err != nil {
		j.failed = true
		return nil, err
	}
	if j.file = file; made {
		return nil, errNoRecord
	}
	return file, nil
}

// giveUpJournal makes the handle take checkpoints from now on.
func (a *Arena) giveUpJournal() {
	a.journal.failed = true
	a.closeJournal()
}

func (a *Arena) closeJournal() {
	if file := a.journal.file; file != nil {
		a.journal.file = nil
		_ = file.close()
	}
}

// A replayed is a journal as a recovery finds it: the records that follow a checkpoint.
type replayed struct {
	records []layout.JournalRecord
	blocks  [][]byte // of each
}

// after returns the version that the records lead to from a checkpoint.
func (r *replayed) after(c layout.Checkpoint) layout.Checkpoint {
	if n := len(r.records); n > 0 {
		last := r.records[n-1]
		return layout.Checkpoint{Version: last.Version, Root: last.Root, End: last.End, Time: last.Time}
	}
	return c
}

// readJournal returns the records that follow a checkpoint.
func (a *Arena) readJournal(c layout.Checkpoint) (r replayed, err error) {
	file, err := a.b.openJournal(false)
	if file == nil || err != nil {
		return r, err
	}
	defer func() { _ = file.close() }()
	b, err := file.read()
	if err != nil {
		return r, fmt.Errorf("reading the journal: %w", err)
	}
	before := c.Sum(a.super.ID)
	for at := uint64(0); at < uint64(len(b)); {
		rec, blocks, ok := layout.DecodeJournal(b[at:], before)
		if !ok {
			break
		}
		before = rec.Sum
		r.records, r.blocks = append(r.records, rec), append(r.blocks, blocks)
		at += layout.RoundUp(layout.JournalHeadSize+rec.Bytes, layout.JournalAlign)
	}
	return r, nil
}

// replay writes the blocks of the records to their places. They reach no further than end.
func (a *Arena) replay(r replayed, end uint64) error {
	if len(r.records) == 0 {
		return nil
	}
	if end > a.ro.Size() {
		return region.Corrupt(layout.OffJournalBase, "end of a record of the journal", end, fmt.Sprintf("at most %d", a.ro.Size()))
	}
	size, err := a.b.size()
	if err == nil && size < end {
		err = a.b.truncate(end)
	}
	if err != nil {
		return err
	}
	backed := map[uint64]bool{} // by page
	for i, blocks := range r.blocks {
		for len(blocks) > 0 {
			off, size, block, rest, ok := layout.NextJournalBlock(blocks)
			if !ok {
				return region.Corrupt(r.records[i].Root, "block of a record of the journal", size, fmt.Sprintf("at most %d bytes", len(blocks)))
			}
			p, err := placeOf(off, size, end)
			if err != nil {
				return err
			}
			for page := layout.PageOf(p.off); page < p.off+size; page += layout.PageSize {
				if backed[page] {
					continue
				}
				if err := a.b.back(page, layout.PageSize); err != nil {
					return err
				}
				backed[page] = true
			}
			a.mem.Write(off, block)
			blocks = rest
		}
		a.getsOn()
	}
	return nil
}
