package filestorage

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math/bits"
	"os"
	"path/filepath"

	"github.com/seed-869cc763/shmkv/shm/record"
)

// WriteOptions are for Write; nil means the defaults.
type WriteOptions struct {
	// Progress is called now and then, by the goroutine of the caller, with the number of records
	// that were written.
	Progress func(records int64)
	// MaxMap bounds the map of offsets, in bytes; 0 means 16 GiB. It has a place of up to 8 bytes for
	// each id up to the greatest, also for those without a record.
	MaxMap int64
}

const (
	defaultMaxMap = 16 << 30
	progressEvery = 1000 // records
	partSuffix    = ".part"
)

// Write writes records to a new file in the format Shelf, which Durus opens, and returns their number. An id
// may come once. The file appears under its name when all of it is on disk; before, it has ".part" behind
// its name, which a Write that is interrupted leaves, and the next one overwrites. A file of that
// name is an error that matches fs.ErrExist.
func Write(path string, records iter.Seq2[record.Record, error], opts *WriteOptions) (n int64, err error) {
	if opts == nil {
		opts = &WriteOptions{}
	}
	if _, err := os.Lstat(path); err == nil {
		return 0, &fs.PathError{Op: "export", Path: path, Err: fs.ErrExist}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	f, err := os.OpenFile(path+partSuffix, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return 0, err
	}
	w := writer{f: f, w: bufio.NewWriterSize(f, 1<<20), opts: opts}
	if err = w.all(records); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return 0, fmt.Errorf("writing %s: %w", path+partSuffix, err)
	}
	if err := os.Link(path+partSuffix, path); err != nil { // not a rename, which would replace a file
		return 0, err
	}
	if err := os.Remove(path + partSuffix); err != nil {
		return 0, err
	}
	return w.n, syncDir(filepath.Dir(path))
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

type writer struct {
	f        *os.File
	w        *bufio.Writer
	opts     *WriteOptions
	n        int64 // records
	at       int64
	greatest record.ID
}

func (w *writer) write(b []byte) error {
	_, err := w.w.Write(b)
	w.at += int64(len(b))
	return err
}

func (w *writer) number(n int64) error { return w.write(binary.BigEndian.AppendUint64(nil, uint64(n))) }

func (w *writer) all(records iter.Seq2[record.Record, error]) error {
	if err := w.write([]byte(shelfPrefix)); err != nil {
		return err
	}
	begin := w.at
	if err := w.number(0); err != nil { // its length, which is written at the end
		return err
	}
	if err := w.records(records); err != nil {
		return err
	}
	if err := w.w.Flush(); err != nil {
		return err
	}
	if _, err := w.f.WriteAt(binary.BigEndian.AppendUint64(nil, uint64(w.at-begin-8)), begin); err != nil {
		return err
	}
	return w.offsets(begin + 8)
}

func (w *writer) records(records iter.Seq2[record.Record, error]) error {
	var packed []byte
	for r, err := range records {
		if err != nil {
			return err
		}
		packed = r.Append(packed[:0])
		for _, err := range []error{
			w.number(int64(idSize + len(packed))), w.number(int64(r.ID)), w.write(packed),
		} {
			if err != nil {
				return err
			}
		}
		w.greatest = max(w.greatest, r.ID)
		if w.n++; w.opts.Progress != nil && w.n%progressEvery == 0 {
			w.opts.Progress(w.n)
		}
	}
	return nil
}

// An offsetMap is the map of offsets of a file that is written.
type offsetMap struct {
	f     *os.File
	begin int64 // of its header
	width int
	n     int64 // places
}

const mapHeader = 24

func (m offsetMap) at(place int64) int64 { return m.begin + mapHeader + place*int64(m.width) }

func (m offsetMap) set(place, value int64) error {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(value))
	_, err := m.f.WriteAt(b[8-m.width:], m.at(place))
	return err
}

// offsets writes the map of offsets behind the entries, which it reads again. The file system gives
// the bytes that are not written the value 0, which is the offset of no entry.
func (w *writer) offsets(from int64) error {
	m := offsetMap{f: w.f, begin: w.at}
	if w.n > 0 {
		limit := w.opts.MaxMap
		if limit == 0 {
			limit = defaultMaxMap
		}
		if uint64(w.greatest) > uint64(limit/8) {
			return fmt.Errorf("found the id %d, expected at most %d for a map of offsets of at most %d bytes", w.greatest, limit/8, limit)
		}
		m.n = int64(w.greatest) + 2
	}
	m.width = (bits.Len64(uint64(m.begin+m.n)+1) + 7) / 8 // as Durus chooses it
	header := binary.BigEndian.AppendUint64(nil, uint64(16+m.n*int64(m.width)))
	header = binary.BigEndian.AppendUint64(header, uint64(m.width))
	header = binary.BigEndian.AppendUint64(header, uint64(m.n))
	if _, err := w.f.WriteAt(header, m.begin); err != nil {
		return err
	}
	if err := w.f.Truncate(m.at(m.n)); err != nil {
		return err
	}
	r := bufio.NewReaderSize(io.NewSectionReader(w.f, from, m.begin-from), 1<<20)
	for at := from; at < m.begin; {
		var b [16]byte
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return err
		}
		n, id := int64(binary.BigEndian.Uint64(b[:])), int64(binary.BigEndian.Uint64(b[8:]))
		if err := m.set(id, at); err != nil {
			return err
		}
		if _, err := r.Discard(int(n - idSize)); err != nil {
			return err
		}
		at += 8 + n
	}
	return m.link()
}

// link makes a list of the places without an entry.
func (m offsetMap) link() error {
	last := m.n - 1
	r := bufio.NewReaderSize(io.NewSectionReader(m.f, m.at(0), m.n*int64(m.width)), 1<<20)
	for place := range m.n {
		var b [8]byte
		if _, err := io.ReadFull(r, b[8-m.width:]); err != nil {
			return err
		}
		if binary.BigEndian.Uint64(b[:]) != 0 {
			continue
		}
		if err := m.set(place, last+m.begin); err != nil {
			return err
		}
		last = place
	}
	return nil
}
