package record

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"math"

	"github.com/seed-869cc763/shmkv/shm"
)

const (
	// importRecords and importBytes bound a commit of an import. A larger record is one of its own.
	importRecords = 1000
	importBytes   = 4 << 20
)

// ImportOptions are for Import; nil means the defaults.
type ImportOptions struct {
	// Progress is called after each commit, by the goroutine of the caller, with the number of records
	// so far.
	Progress func(records int64)
}

// Imported is the result of an Import.
type Imported struct {
	Records int64 // that were read
	Stored  int64 // that were not there, or were others
	Commits int64
}

var errImporting = fmt.Errorf("record: %w: run it again to its end", ErrImporting)

// Import stores all records of a sequence with the ids that they have, in many commits and with
// bounded memory. A later record takes the place of an earlier one with the same id. The storage must
// be empty and without sessions, or what an Import has left that was interrupted or killed: another
// one of the same records then goes through all of them, and stores those that are missing. Until it
// has ended, Session and Pack return ErrImporting, so that nothing is collected to which a record refers
// that is yet to come.
func (st *Storage) Import(ctx context.Context, records iter.Seq2[Record, error], opts *ImportOptions) (done Imported, err error) {
	if opts == nil {
		opts = &ImportOptions{}
	}
	if err := st.update(func(tx *shm.Tx) error { return st.beginImport(st.tables(tx)) }); err != nil {
		return done, err
	}
	batch := importing{st: st, values: map[ID][]byte{}}
	flush := func() error {
		stored, err := batch.commit()
		if err != nil {
			return err
		}
		done.Records += batch.records
		done.Stored += stored
		done.Commits++
		if opts.Progress != nil {
			opts.Progress(done.Records)
		}
		batch = importing{st: st, values: map[ID][]byte{}}
		return ctx.Err()
	}
	for r, err := range records {
		if err == nil {
			err = batch.add(r)
		}
		if err == nil && (len(batch.values) >= importRecords || batch.bytes >= importBytes) {
			err = flush()
		}
		if err != nil {
			return done, err
		}
	}
	if err := flush(); err != nil {
		return done, err
	}
	return done, st.update(func(tx *shm.Tx) error {
		m := st.tables(tx)
		h, err := st.importHead(m)
		if err != nil {
			return err
		}
		h.importing, h.runner = 0, 0
		return m.setHead(h)
	})
}

func (st *Storage) beginImport(m tables) error {
	h, err := readHead(m.books)
	if err != nil {
		return err
	}
	if h.importing == 0 {
		if n := m.records.Len(); n > 0 || h.phase != phaseIdle || h.next > 0 {
			return fmt.Errorf("record: importing: found a storage with %d records and next id %d, expected one that was not used before", n, h.next)
		}
		if err := st.adopt(m); err != nil {
			return err
		}
		if key, _, err := m.books.Ceil(book(tagClient)); err == nil && key[0] == tagClient {
			return errors.New("record: importing: found sessions, expected none")
		} else if err != nil && !errors.Is(err, shm.ErrNotFound) {
			return err
		}
	} else if h.runner != st.owner {
		alive, err := st.store.Alive(h.runner)
		if err != nil {
			return err
		}
		if alive {
			return fmt.Errorf("record: %w: another process runs it", ErrImporting)
		}
	}
	h.importing, h.runner = 1, st.owner
	return m.setHead(h)
}

// importHead returns the head for an import that goes on.
func (st *Storage) importHead(m tables) (head, error) {
	h, err := readHead(m.books)
	if err == nil && (h.importing == 0 || h.runner != st.owner) {
		err = errors.New("record: importing: found that another process has taken the import over")
	}
	return h, err
}

// importing is the records of a commit of an import.
type importing struct {
	st      *Storage
	values  map[ID][]byte
	records int64
	bytes   int
}

func (b *importing) add(r Record) error {
	if n := r.packedSize(); n > MaxRecord {
		return fmt.Errorf("record: %w: record %d has %d bytes, expected at most %d", shm.ErrTooLarge, r.ID, n, MaxRecord)
	}
	if r.ID == math.MaxUint64 {
		return fmt.Errorf("record: importing: found the id %d, expected a lesser one", r.ID)
	}
	value := r.Append(make([]byte, 0, r.packedSize()))[idSize:]
	b.bytes += len(value)
	b.records++
	b.values[r.ID] = value
	return nil
}

// commit stores the records, and returns how many were not there as they are.
func (b *importing) commit() (stored int64, err error) {
	err = b.st.update(func(tx *shm.Tx) error {
		m := b.st.tables(tx)
		h, err := b.st.importHead(m)
		if err != nil {
			return err
		}
		stored = 0
		change := balance{m, map[ID]int{}}
		var isNew []ID
		for _, id := range sortedKeys(b.values) {
			value := b.values[id]
			old, err := m.records.Get(id.key())
			switch {
			case errors.Is(err, shm.ErrNotFound):
				isNew = append(isNew, id)
			case err != nil:
				return err
			case bytes.Equal(old, value):
				continue
			default:
				if err := change.add(id, old, -1); err != nil {
					return err
				}
			}
			if err := change.add(id, value, 1); err != nil {
				return err
			}
			if err := m.records.Set(id.key(), value); err != nil {
				return err
			}
			h.next = max(h.next, id+1)
			stored++
		}
		if err := change.settle(); err != nil {
			return err
		}
		for _, id := range isNew {
			n, err := m.count(id)
			if err == nil && n == 0 && id != 0 {
				err = m.books.Set(id.book(tagUnreferred), nil)
			}
			if err != nil {
				return err
			}
		}
		if stored > 0 {
			h.stamp++
		}
		return m.setHead(h)
	})
	return stored, err
}

// add counts each id that a value refers to, but its own, by times.
func (b balance) add(id ID, value []byte, by int) error {
	refs, err := refsOf(id, value)
	if err != nil {
		return err
	}
	once := map[ID]bool{id: true}
	for _, ref := range refs {
		if !once[ref] {
			once[ref] = true
			b.by[ref] += by
		}
	}
	return nil
}
