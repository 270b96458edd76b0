// Package wire has the messages of countd as bytes, for its server and its client.
//
// All numbers are little-endian. Names are padded with NULs to a fixed length: NULs at the end
// are padding, and leading and inner ones belong to the name. With the default lengths:
//
//	an increment   520 bytes   8    the increment, int64
//	                           256  keyspace
//	                           256  key
//	its answer     3 bytes     WIN
//
//	a request      272 bytes   256  keyspace
//	                           8    offset, uint64
//	                           8    length, uint64
//	its answer     8 bytes          the number of rows, uint64
//	               264 bytes   8    count, int64, of each row
//	                           256  key
package wire

import (
	"encoding/binary"
	"fmt"
)

// Win is the answer to an increment that was committed.
const Win = "WIN"

const (
	// DefaultName is how long keyspaces and keys are unless an option says otherwise.
	DefaultName = 256

	// DefaultPort is the TCP port for increments. Reads are on the next one.
	DefaultPort = 48879

	// NumberSize is how many bytes a number takes.
	NumberSize = 8
)

// A Layout is the lengths of names in messages, in bytes.
type Layout struct{ Keyspace, Key int }

// IncrementSize returns the length of an increment.
func (l Layout) IncrementSize() int { return NumberSize + l.Keyspace + l.Key }

// RequestSize returns the length of a request for rows.
func (l Layout) RequestSize() int { return l.Keyspace + 2*NumberSize }

// RowSize returns the length of a row.
func (l Layout) RowSize() int { return NumberSize + l.Key }

// Increment returns what is in an increment. The names are parts of m.
func (l Layout) Increment(m []byte) (n int64, keyspace, key []byte) {
	_ = m[:l.IncrementSize()]
	names := m[NumberSize:]
	return int64(binary.LittleEndian.Uint64(m)), Trim(names[:l.Keyspace]), Trim(names[l.Keyspace : l.Keyspace+l.Key])
}

// AppendIncrement appends an increment to dst.
func (l Layout) AppendIncrement(dst []byte, n int64, keyspace, key []byte) ([]byte, error) {
	if err := fits("keyspace", keyspace, l.Keyspace); err != nil {
		return dst, err
	}
	if err := fits("key", key, l.Key); err != nil {
		return dst, err
	}
	dst = binary.LittleEndian.AppendUint64(dst, uint64(n))
	return appendName(appendName(dst, keyspace, l.Keyspace), key, l.Key), nil
}

// Request returns what is in a request. The name is a part of m.
func (l Layout) Request(m []byte) (keyspace []byte, offset, length uint64) {
	numbers := m[l.Keyspace:l.RequestSize()]
	return Trim(m[:l.Keyspace]), binary.LittleEndian.Uint64(numbers), binary.LittleEndian.Uint64(numbers[NumberSize:])
}

// AppendRequest appends a request to dst.
func (l Layout) AppendRequest(dst, keyspace []byte, offset, length uint64) ([]byte, error) {
	if err := fits("keyspace", keyspace, l.Keyspace); err != nil {
		return dst, err
	}
	dst = appendName(dst, keyspace, l.Keyspace)
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(dst, offset), length), nil
}

// Row returns what is in a row. The key is a part of m.
func (l Layout) Row(m []byte) (n int64, key []byte) {
	return int64(binary.LittleEndian.Uint64(m)), Trim(m[NumberSize:l.RowSize()])
}

// AppendRow appends a row to dst.
func (l Layout) AppendRow(dst []byte, n int64, key []byte) ([]byte, error) {
	if err := fits("key", key, l.Key); err != nil {
		return dst, err
	}
	return appendName(binary.LittleEndian.AppendUint64(dst, uint64(n)), key, l.Key), nil
}

// Trim returns a name without its padding.
func Trim(name []byte) []byte {
	n := len(name)
	for n >= 8 && binary.LittleEndian.Uint64(name[n-8:]) == 0 {
		n -= 8
	}
	for n > 0 && name[n-1] == 0 {
		n--
	}
	return name[:n]
}

// fits returns an error unless a message can have the name.
func fits(what string, name []byte, size int) error {
	if len(name) > size {
		return fmt.Errorf("found the %s %.40q of %d bytes, expected at most %d", what, name, len(name), size)
	}
	if n := len(name); n > 0 && name[n-1] == 0 {
		return fmt.Errorf("found the %s %.40q, which ends with a NUL, expected one that does not: it would be taken for padding", what, name)
	}
	return nil
}

func appendName(dst, name []byte, size int) []byte {
	dst = append(dst, name...)
	for n := len(name); n < size; {
		part := padding[:min(len(padding), size-n)]
		dst = append(dst, part...)
		n += len(part)
	}
	return dst
}

var padding [256]byte
