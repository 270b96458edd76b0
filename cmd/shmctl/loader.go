package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
	"github.com/seed-869cc763/shmkv/shm"
)

// batchBytes is the size in bytes at which a batch ends before it has its number of
// records, so that large values do not make large transactions.
const batchBytes = 16 << 20

// A loader writes records to a store, one batch after the other.
type loader struct {
	lines *bufio.Reader
	most  int // lines in a batch
	of    *mapChoice

	to    *mapHead // of the next records; nil: they are skipped
	first *mapHead // of records before the first line that begins a map
	found bool     // the input has records for the map of --map, or begins it

	batch []batched // read and not yet written
	bytes int64     // of keys and values in batch
	start int       // number of the first line of batch
	line  int       // number of the last line read
	end   bool      // the input ends after batch

	done     loaded
	creating bool // the store is new, and an error removes it
}

// A batched line is a line and its map.
type batched struct {
	dumpLine
	to *mapHead
}

func newLoader(in io.Reader, most int, of *mapChoice) *loader {
	first := &mapHead{name: of.name}
	return &loader{lines: bufio.NewReaderSize(in, 256<<10), most: most, of: of, to: first, first: first}
}

// left describes the records that are in the store after an error.
func (l *loader) left() string {
	if l.creating {
		return "no store was made"
	}
	return text.Things(l.done.Records, "record", "records") + " before it loaded"
}

// load reads a first batch before it opens or creates the store at path, so that invalid
// input creates no store.
func (l *loader) load(path string, to writeFlags) error {
	err := l.read()
	_, statErr := os.Lstat(path)
	l.creating = errors.Is(statErr, fs.ErrNotExist)
	switch {
	case err != nil:
		return err
	case l.creating:
		return shm.Create(path, to.options(), l.fill)
	}
	return withStore(openOrCreate(to), path, l.fill)
}

// fill writes the first batch, which load has read, and reads and writes the others.
func (l *loader) fill(s *shm.Store) (err error) {
	if l.of.given() {
		if l.first.kind, err = l.of.kindToMake(s); err != nil {
			return err
		}
	}
	for {
		if err := l.write(s); err != nil || l.end {
			return err
		}
		if err := l.read(); err != nil {
			return err
		}
	}
}

// read reads a batch of lines.
func (l *loader) read() error {
	l.batch, l.bytes, l.start = l.batch[:0], 0, l.line+1
	for !l.end && len(l.batch) < l.most && l.bytes < batchBytes {
		l.line++
		fail := func(err error) error { return inputError{err, fmt.Sprintf("line %d", l.line)} }
		text, err := l.lines.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return fail(err)
		}
		if l.end = err != nil; l.end && len(text) == 0 {
			l.line--
			break
		}
		parsed, err := parseLine(bytes.TrimRight(text, "\r\n"))
		if err == nil {
			err = l.take(parsed)
		}
		if err != nil {
			return fail(err)
		}
	}
	if l.end && l.of.given() && !l.found {
		if l.line > 0 {
			return inputError{fmt.Errorf("--map %s: %w", text.Printable([]byte(l.of.name)), errNoMap), fmt.Sprintf("lines 1 to %d", l.line)}
		}
		l.add(dumpLine{begins: l.first}) // an empty input makes an empty map
	}
	return nil
}

// take adds a line to the batch, if it is of the map that load writes.
func (l *loader) take(next dumpLine) error {
	head := next.begins
	switch {
	case head == nil:
	case !l.of.given():
		l.to = head
	case head.kind == 0 || head.name != l.of.name:
		l.to = nil
	case l.of.ordered && head.kind == shm.KindHash:
		return fmt.Errorf("--ordered: %w", notOrdered(head.name))
	default:
		l.to = head
	}
	if l.to != nil && (head == nil || head.kind != 0) { // the unnamed map need not be made
		l.add(next)
	}
	return nil
}

// add adds a line to the batch.
func (l *loader) add(next dumpLine) {
	l.found = true
	l.batch = append(l.batch, batched{next, l.to})
	l.bytes += int64(len(next.key) + len(next.value))
}

// write writes the batch in one transaction.
func (l *loader) write(s *shm.Store) error {
	if len(l.batch) == 0 {
		return nil
	}
	if err := s.Update(l.set); err != nil {
		return inputError{err, fmt.Sprintf("lines %d to %d", l.start, l.line)}
	}
	for _, b := range l.batch {
		if b.begins == nil {
			l.done.Records++
		} else {
			l.done.Maps++
		}
	}
	l.done.Bytes += l.bytes
	l.done.Transactions++
	return nil
}

// set makes the batch part of a transaction.
func (l *loader) set(tx *shm.Tx) (err error) {
	var to *mapHead
	var set func(key, value []byte) error
	for _, b := range l.batch {
		if b.to != to {
			to = b.to
			set, err = setIn(tx, to)
		}
		if err == nil && b.begins == nil {
			err = set(b.key, b.value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// setIn makes a map be there, and returns the function that sets its entries.
func setIn(tx *shm.Tx, to *mapHead) (set func(key, value []byte) error, err error) {
	switch to.kind {
	case shm.KindHash:
		m := tx.Map(to.name)
		return m.Set, m.Create()
	case shm.KindOrdered:
		o := tx.Ordered(to.name)
		return o.Set, o.Create()
	}
	return tx.Set, nil
}
