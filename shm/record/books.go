package record

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/seed-869cc763/shmkv/shm"
)

// The tags of the keys of the books.
const (
	tagClient     = 'c'
	tagFresh      = 'f'
	tagGray       = 'g'
	tagHead       = 'h'
	tagMarks      = 'm'
	tagUnreferred = 'u'
	tagWaiting    = 'w'
)

func book(tag byte, numbers ...uint64) []byte {
	key := make([]byte, 1, 17)
	key[0] = tag
	for _, n := range numbers {
		key = binary.BigEndian.AppendUint64(key, n)
	}
	return key
}

func (id ID) book(tag byte) []byte { return book(tag, uint64(id)) }

// numbersOf returns the numbers of a key of the books.
func numbersOf(key []byte, want int) ([2]uint64, error) {
	var n [2]uint64
	if len(key) != 1+8*want {
		return n, corrupt("found a key of the books %.20x of %d bytes, expected %d", key, len(key), 1+8*want)
	}
	for i := range want {
		n[i] = binary.BigEndian.Uint64(key[1+8*i:])
	}
	return n, nil
}

// A phase is the state of the collection.
type phase uint64

const (
	phaseIdle phase = iota
	phaseMark
	phaseSweep
)

// A head is the numbers of a storage.
type head struct {
	stamp  uint64
	next   ID        // the least id that was never given and never stored
	rooter shm.Owner // who was given the id 0, while there is no root

	phase    phase
	cycle    uint64    // number of the last trace that was begun
	runner   shm.Owner // whose steps the trace is of
	steps    uint64    // of all traces
	cut      uint64    // stamp of the commit that began the sweep
	cursor   uint64    // where the sweep goes on in the map of records
	own      uint64    // by how much the trace itself has raised the stamp
	began    uint64    // stamp when the trace began
	traced   uint64    // stamp up to which all garbage was collected
	lastGone uint64    // stamp of the last commit that collected a record

	importing uint64 // 1 while the records are imported, by runner
}

const (
	headFormat = 1
	headWords  = 14
)

func (h *head) words() [headWords]*uint64 {
	return [...]*uint64{
		&h.stamp, (*uint64)(&h.next), (*uint64)(&h.rooter), (*uint64)(&h.phase), &h.cycle, (*uint64)(&h.runner),
		&h.steps, &h.cut, &h.cursor, &h.own, &h.traced, &h.began, &h.lastGone, &h.importing,
	}
}

func (h *head) encode() []byte {
	b := []byte{headFormat}
	for _, w := range h.words() {
		b = binary.BigEndian.AppendUint64(b, *w)
	}
	return b
}

// getter is what the books of a snapshot and those of a transaction have in common.
type getter interface {
	Get(key []byte) ([]byte, error)
}

// readHead returns the head, which is zero in an empty storage.
func readHead(books getter) (h head, err error) {
	b, err := books.Get(book(tagHead))
	switch {
	case errors.Is(err, shm.ErrNotFound):
		return h, nil
	case err != nil:
		return h, err
	case len(b) == 0 || b[0] != headFormat:
		return h, fmt.Errorf("record: %w: found a head of format %.1x, expected %d", shm.ErrVersion, b, headFormat)
	case len(b) != 1+8*headWords:
		return h, corrupt("found a head of %d bytes, expected %d", len(b), 1+8*headWords)
	}
	for i, w := range h.words() {
		*w = binary.BigEndian.Uint64(b[1+8*i:])
	}
	if h.phase > phaseSweep || h.importing > 1 {
		return h, corrupt("found the phase %d of a collection and %d of an import, expected at most %d and 1", h.phase, h.importing, phaseSweep)
	}
	return h, nil
}

// marked reports whether the trace has visited id.
func marked(books getter, id ID) (bool, error) {
	c, err := readMarks(books, id)
	return c.has(id), err
}

// readMarks returns the chunk of marks that has the bit of id.
func readMarks(books getter, id ID) (chunk, error) { return readChunk(books, tagMarks, id/chunkIDs) }

// readChunk returns a chunk of bits, which is zero if there is none.
func readChunk(books getter, tag byte, at ID) (c chunk, err error) {
	b, err := books.Get(at.book(tag))
	if errors.Is(err, shm.ErrNotFound) {
		return c, nil
	}
	if err != nil {
		return c, err
	}
	return c, c.decode(b)
}

// setChunk writes a chunk of bits. One without bits has no entry.
func (m tables) setChunk(tag byte, at ID, c chunk) error {
	if c == (chunk{}) {
		_, err := m.books.Delete(at.book(tag))
		return err
	}
	return m.books.Set(at.book(tag), c.encode())
}

// byChunk calls f with the ids of each chunk.
func byChunk(ids []ID, f func(at ID, ids []ID) error) error {
	chunks := map[ID][]ID{}
	for _, id := range ids {
		chunks[id/chunkIDs] = append(chunks[id/chunkIDs], id)
	}
	for _, at := range sortedKeys(chunks) {
		if err := f(at, chunks[at]); err != nil {
			return err
		}
	}
	return nil
}

func (c *chunk) decode(b []byte) error {
	if len(b) != 8*len(c) {
		return corrupt("found marks of %d bytes, expected %d", len(b), 8*len(c))
	}
	for i := range c {
		c[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
	return nil
}

func (c *chunk) encode() []byte {
	b := make([]byte, 0, 8*len(c))
	for _, w := range c {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return b
}
