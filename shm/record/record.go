package record

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/seed-869cc763/shmkv/shm"
)

// An ID names a record. 0 is the root.
type ID uint64

// A Record is an object: its data, which may be any bytes, and the ids of the records that it
// refers to. An id may stand in Refs more than once, and need not be there.
type Record struct {
	ID   ID
	Data []byte
	Refs []ID
}

// The errors of this package, beside those of package shm. Test for them with errors.Is.
var (
	// ErrConflict: a record that the session has used was changed by another one. Sync tells
	// which ones.
	ErrConflict = errors.New("changed by another session")
	// ErrNotGiven: a commit stores a record that is not there, with an id that the session was not
	// given.
	ErrNotGiven = errors.New("id was not given to this session")
	// ErrLagged: the session did not call Sync while others changed more than Options.MaxChanges
	// records. It can only be closed.
	ErrLagged = errors.New("session is too far behind")
	// ErrImporting: an import into the storage has begun and has not ended. Until one has, the storage
	// has no sessions and no collections.
	ErrImporting = errors.New("an import has not ended")
	// ErrMalformed: bytes that should be a record are none.
	ErrMalformed = errors.New("malformed record")
)

// A ConflictError is an error that matches ErrConflict and names the ids.
type ConflictError struct{ IDs []ID }

func (e *ConflictError) Error() string {
	if len(e.IDs) == 1 {
		return fmt.Sprintf("record: %d was %v", e.IDs[0], ErrConflict)
	}
	return fmt.Sprintf("record: %d records, one of them %d, were %v", len(e.IDs), e.IDs[0], ErrConflict)
}

// Is reports whether target is ErrConflict.
func (e *ConflictError) Is(target error) bool { return target == ErrConflict }

const (
	idSize = 8
	// headerSize is the bytes before the data of a packed record: id and length of the data.
	headerSize = idSize + 4
	// MaxRecord is the most bytes that a packed record can have.
	MaxRecord = shm.MaxValue
)

// Append appends the packed form of r to dst and returns it. It is the one of Durus: the id in 8
// bytes, the length of the data in 4, the data, and 8 bytes for each reference; numbers are
// big-endian.
func (r Record) Append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(r.ID))
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(r.Data)))
	dst = append(dst, r.Data...)
	for _, id := range r.Refs {
		dst = binary.BigEndian.AppendUint64(dst, uint64(id))
	}
	return dst
}

func (r Record) packedSize() int { return headerSize + len(r.Data) + idSize*len(r.Refs) }

// Parse returns the record whose packed form is b. Its Data is a part of b.
func Parse(b []byte) (Record, error) {
	if len(b) < headerSize {
		return Record{}, fmt.Errorf("%w: found %d bytes, expected at least %d", ErrMalformed, len(b), headerSize)
	}
	r := Record{ID: ID(binary.BigEndian.Uint64(b))}
	data, refs, err := split(b[idSize:])
	if err != nil {
		return Record{}, fmt.Errorf("record %d: %w", r.ID, err)
	}
	r.Data, r.Refs = data, parseRefs(refs)
	return r, nil
}

// split takes the value of a record apart, which is its packed form without the id.
func split(value []byte) (data, refs []byte, err error) {
	if len(value) < 4 {
		return nil, nil, fmt.Errorf("%w: found a value of %d bytes, expected at least 4", ErrMalformed, len(value))
	}
	n, rest := uint64(binary.BigEndian.Uint32(value)), value[4:]
	if n > uint64(len(rest)) {
		return nil, nil, fmt.Errorf("%w: found data of %d bytes in %d, expected at most as many", ErrMalformed, n, len(rest))
	}
	if refs = rest[n:]; len(refs)%idSize != 0 {
		return nil, nil, fmt.Errorf("%w: found %d bytes of references, expected a multiple of %d", ErrMalformed, len(refs), idSize)
	}
	return rest[:n:n], refs, nil
}

func parseRefs(b []byte) []ID {
	if len(b) == 0 {
		return nil
	}
	ids := make([]ID, 0, len(b)/idSize)
	for ; len(b) > 0; b = b[idSize:] {
		ids = append(ids, ID(binary.BigEndian.Uint64(b)))
	}
	return ids
}

// refsOf returns the references of a stored value, which the store vouches for.
func refsOf(id ID, value []byte) ([]ID, error) {
	_, refs, err := split(value)
	if err != nil {
		return nil, corrupt("record %d: %v", id, err)
	}
	return parseRefs(refs), nil
}

func (id ID) key() []byte { return binary.BigEndian.AppendUint64(nil, uint64(id)) }

func idOf(key []byte) (ID, error) {
	if len(key) != idSize {
		return 0, corrupt("found a key of %d bytes, expected %d", len(key), idSize)
	}
	return ID(binary.BigEndian.Uint64(key)), nil
}

func corrupt(format string, args ...any) error {
	return fmt.Errorf("record: %w: "+format, append([]any{shm.ErrCorrupt}, args...)...)
}
