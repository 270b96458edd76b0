package filestorage

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"syscall"

	"github.com/seed-869cc763/shmkv/shm/record"
)

const (
	shelfPrefix = "SHELF-1\n"
	dfsPrefix   = "DFS20\x00"
	idSize      = 8
	leastRecord = 12
)

// A Format is one of a FileStorage.
type Format string

// The formats.
const (
	Shelf Format = "SHELF-1" // of Durus 3.8 and later
	DFS20 Format = "DFS20"   // of Durus 3.7 and before
)

// The errors of files, beside those of the system.
var (
	// ErrFormat: the file is none of a FileStorage.
	ErrFormat = errors.New("not a FileStorage file")
	// ErrDamaged: the file is one, and something in it is not as it should be.
	ErrDamaged = errors.New("damaged FileStorage file")
	// ErrTorn: the last transaction is incomplete. It matches ErrDamaged too.
	ErrTorn = fmt.Errorf("%w: it ends within a transaction", ErrDamaged)
)

// A File is an open FileStorage file. It is only read. One goroutine uses it at a time.
type File struct {
	f      *os.File
	path   string
	format Format
	size   int64
}

// Open opens a FileStorage file for reading.
func Open(path string) (*File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe has it wait for a writer otherwise
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s: %w: found a file of mode %v, expected a regular one", path, ErrFormat, st.Mode())
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	file := &File{f: f, path: path, size: st.Size()}
	b := make([]byte, len(shelfPrefix))
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, errors.Join(err, f.Close())
	}
	switch b = b[:n]; {
	case string(b) == shelfPrefix:
		file.format = Shelf
	case n >= len(dfsPrefix) && string(b[:len(dfsPrefix)]) == dfsPrefix:
		file.format = DFS20
	default:
		return nil, errors.Join(fmt.Errorf("%s: %w: found %q at its beginning, expected %q or %q", path, ErrFormat, b, shelfPrefix, dfsPrefix), f.Close())
	}
	return file, nil
}

// Close closes the file.
func (f *File) Close() error { return f.f.Close() }

// Format returns the format of the file.
func (f *File) Format() Format { return f.format }

// Size returns the length of the file in bytes, as it was when it was opened.
func (f *File) Size() int64 { return f.size }

// Records iterates over all entries of the file in its order: a later record replaces an earlier one of the same
// id. Data is the caller's. The loop ends after an error, which may be ErrTorn. progress, unless it
// is nil, is called after each record with the bytes that were read, of Size.
func (f *File) Records(progress func(done, total int64)) iter.Seq2[record.Record, error] {
	return func(yield func(record.Record, error) bool) {
		r := reader{f: f, r: bufio.NewReaderSize(nil, 1<<20), progress: progress, yield: yield}
		r.seek(0)
		var err error
		if f.format == Shelf {
			err = r.shelf()
		} else {
			err = r.dfs20()
		}
		if err != nil && !errors.Is(err, errStopped) {
			yield(record.Record{}, fmt.Errorf("%s: %w", f.path, err))
		}
	}
}

// errStopped ends reading when the loop has ended.
var errStopped = errors.New("stopped")

// A reader reads a file from its beginning to its end.
type reader struct {
	f        *File
	r        *bufio.Reader
	at       int64
	progress func(done, total int64)
	yield    func(record.Record, error) bool
	yielded  int64 // records
}

func (r *reader) seek(at int64) {
	r.at = at
	r.r.Reset(io.NewSectionReader(r.f.f, at, r.f.size-at))
}

// left returns how many bytes there are up to the end of the file.
func (r *reader) left() int64 { return r.f.size - r.at }

func (r *reader) number(size int) (uint64, error) {
	var b [8]byte
	if _, err := io.ReadFull(r.r, b[8-size:]); err != nil {
		return 0, fmt.Errorf("offset %d: %w", r.at, err)
	}
	r.at += int64(size)
	return binary.BigEndian.Uint64(b[:]), nil
}

func damaged(at int64, format string, args ...any) error {
	return fmt.Errorf("offset %d: %w: "+format, append([]any{at, ErrDamaged}, args...)...)
}

// record reads a packed record of n bytes, and yields it.
func (r *reader) record(n int64) error {
	at := r.at
	b := make([]byte, n)
	if _, err := io.ReadFull(r.r, b); err != nil {
		return fmt.Errorf("offset %d: %w", at, err)
	}
	r.at += n
	rec, err := record.Parse(b)
	if err != nil {
		return damaged(at, "%v", err)
	}
	r.yielded++
	if !r.yield(rec, nil) {
		return errStopped
	}
	if r.progress != nil {
		r.progress(r.at, r.f.size)
	}
	return nil
}

// skip passes over n bytes.
func (r *reader) skip(n int64) { r.seek(r.at + n) }

func (r *reader) shelf() error {
	r.skip(int64(len(shelfPrefix)))
	if err := r.shelfTransaction(); errors.Is(err, ErrTorn) {
		// Durus has written all of it before the file had its name: no crash of a commit leaves this.
		return damaged(int64(len(shelfPrefix)), "found an incomplete first transaction (%d bytes of the file are left), expected a whole one", r.left())
	} else if err != nil {
		return err
	}
	if err := r.skipMap(); err != nil {
		return err
	}
	for wasEmpty := false; r.left() > 0; {
		at, yielded := r.at, r.yielded
		err := r.shelfTransaction()
		if wasEmpty && r.yielded == yielded && errors.Is(err, ErrDamaged) {
			return fmt.Errorf("offset %d: %w: found a length of 0 and no transaction behind it", at-8, ErrTorn)
		}
		if err != nil {
			return err
		}
		wasEmpty = r.at == at+8
	}
	return nil
}

// skipMap passes over the map of offsets.
func (r *reader) skipMap() error {
	at := r.at
	if r.left() < 24 {
		return damaged(at, "found %d bytes in place of the map of offsets, expected at least 24", r.left())
	}
	n, err := r.number(8)
	if err != nil {
		return err
	}
	if n < 16 || n > uint64(r.left()) {
		return damaged(at, "found a map of offsets of %d bytes, expected at least 16 and at most the %d that are left", n, r.left())
	}
	r.skip(int64(n))
	return nil
}

func (r *reader) shelfTransaction() error {
	at := r.at
	if r.left() < 8 {
		return fmt.Errorf("offset %d: %w: found %d bytes", at, ErrTorn, r.left())
	}
	n, err := r.number(8)
	if err != nil {
		return err
	}
	if n > uint64(r.left()) {
		return fmt.Errorf("offset %d: %w: found a length of %d, expected at most the %d bytes that are left", at, ErrTorn, n, r.left())
	}
	for end := r.at + int64(n); r.at < end; {
		at := r.at
		if end-at < 8+idSize+leastRecord {
			return damaged(at, "found %d bytes at the end of a transaction, expected an entry of at least %d or none", end-at, 8+idSize+leastRecord)
		}
		n, err := r.number(8)
		if err != nil {
			return err
		}
		if n < idSize+leastRecord || n > uint64(end-r.at) {
			return damaged(at, "found an entry of %d bytes, expected at least %d and at most the %d that are left of the transaction", n, idSize+leastRecord, end-r.at)
		}
		id, err := r.number(idSize)
		if err != nil {
			return err
		}
		own, err := r.r.Peek(idSize)
		if err != nil {
			return fmt.Errorf("offset %d: %w", r.at, err)
		}
		if got := binary.BigEndian.Uint64(own); got != id {
			return damaged(r.at, "found a record of id %d in the entry of %d", got, id)
		}
		if err := r.record(int64(n) - idSize); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) dfs20() error {
	r.skip(int64(len(dfsPrefix)))
	if r.left() < 8 {
		return damaged(r.at, "found %d bytes in place of the offset of the index, expected 8", r.left())
	}
	index, err := r.number(8)
	if err != nil {
		return err
	}
	if index < uint64(r.at) || index > uint64(r.f.size-8) {
		return damaged(r.at-8, "found the offset %d of the index, expected at least %d and at most %d", index, r.at, r.f.size-8)
	}
	for r.left() > 0 {
		at := r.at
		if uint64(at) == index {
			n, err := r.number(8)
			if err != nil {
				return err
			}
			if n > uint64(r.left()) {
				return damaged(at, "found an index of %d bytes, expected at most the %d that are left", n, r.left())
			}
			r.skip(int64(n))
			continue
		}
		limit := r.f.size
		if uint64(at) < index {
			limit = int64(index)
		}
		end, err := r.transactionEnd(limit)
		if errors.Is(err, ErrTorn) && limit < r.f.size {
			return damaged(at, "found a transaction that reaches into the index at %d, expected its end before", limit)
		}
		if err != nil {
			return err
		}
		r.seek(at)
		for r.at < end-4 {
			n, err := r.number(4)
			if err != nil {
				return err
			}
			if err := r.record(int64(n)); err != nil {
				return err
			}
		}
		r.seek(end)
	}
	return nil
}

// transactionEnd returns the offset behind the transaction that begins here, which is to end at a
// limit at the latest.
func (r *reader) transactionEnd(limit int64) (int64, error) {
	begin := r.at
	for {
		at := r.at
		if limit-at < 4 {
			return 0, fmt.Errorf("offset %d: %w: found no end of it up to offset %d", begin, ErrTorn, limit)
		}
		n, err := r.number(4)
		if err != nil {
			return 0, err
		}
		switch {
		case n == 0:
			return r.at, nil
		case n > uint64(limit-r.at):
			return 0, fmt.Errorf("offset %d: %w: found a record of %d bytes, expected at most the %d that are left", at, ErrTorn, n, limit-r.at)
		case n < leastRecord:
			return 0, damaged(at, "found a record of %d bytes, expected at least %d", n, leastRecord)
		}
		if err := r.pass(int64(n)); err != nil {
			return 0, err
		}
	}
}

// pass passes over n bytes that are in the buffer, as a rule.
func (r *reader) pass(n int64) error {
	if n > int64(r.r.Buffered()) {
		r.skip(n)
		return nil
	}
	_, err := r.r.Discard(int(n))
	r.at += n
	return err
}
