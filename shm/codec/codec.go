// Package codec turns Go values into bytes and back, for the typed views of maps and caches:
// [github.com/seed-869cc763/shmkv/shm/typed.Map] and
// [github.com/seed-869cc763/shmkv/shm/cache.Typed].
//
// A view has one codec for its keys and one for its values. For keys, String and Int keep the
// order: an ordered map with such keys is in the order of the strings or numbers. JSON is for
// all values that encoding/json takes. Marshaled adapts libraries that have a pair of functions
// Marshal and Unmarshal, such as those for CBOR and MessagePack, and Binary the types that have
// MarshalBinary. Package gobcodec is one for encoding/gob. Others are a type with two methods.
//
// All processes need the same codecs for a map. The bytes do not tell which codec has made
// them.
package codec

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
)

// A Codec turns values of type T into bytes and back. Its methods may be called by many
// goroutines at once.
//
// A codec for keys must give equal keys equal bytes, and others different ones. JSON and
// Marshaled do so for strings, numbers and structs of them.
type Codec[T any] interface {
	// Append appends the bytes of v to dst, and returns the extended slice.
	Append(dst []byte, v T) ([]byte, error)
	// Decode returns the value whose bytes data has, all of them. data may be memory of
	// the store or of a buffer: it must not be written to, and what the value keeps of it
	// must be copied.
	Decode(data []byte) (T, error)
}

// ErrDecode: bytes that are not a value of the type, maybe because another version of the
// program has written them. Whoever uses a cache can delete the key and go on.
var ErrDecode = errors.New("found bytes that are not of the type")

// String is the bytes of a string. It keeps the order of strings.
type String[T ~string] struct{}

// Append appends the bytes of s.
func (String[T]) Append(dst []byte, s T) ([]byte, error) { return append(dst, s...), nil }

// Decode returns data as a string.
func (String[T]) Decode(data []byte) (T, error) { return T(data), nil }

// Bytes is bytes as they are. A nil slice comes back as an empty one.
type Bytes[T ~[]byte] struct{}

// Append appends b.
func (Bytes[T]) Append(dst []byte, b T) ([]byte, error) { return append(dst, b...), nil }

// Decode returns a copy of data.
func (Bytes[T]) Decode(data []byte) (T, error) { return append(T{}, data...), nil }

// Integer is the integer types.
type Integer interface {
	~int | ~int8 | ~int16 | ~int32 | ~int64 | ~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~uintptr
}

// Int is an integer, in as many bytes as its type has, big-endian. The highest bit of signed
// types is inverted, so that the bytes have the order of the numbers.
type Int[T Integer] struct{}

// shape returns the size of T in bytes, and the bit that is inverted.
func (Int[T]) shape() (size int, sign uint64) {
	size = 8
	for i, bits := 1, 8; i < 8; i, bits = i*2, bits*2 {
		if one := T(1); one<<bits == 0 {
			size = i
			break
		}
	}
	if zero := T(0); ^zero < 0 {
		sign = 1 << (8*size - 1)
	}
	return size, sign
}

// Append appends the bytes of n.
func (c Int[T]) Append(dst []byte, n T) ([]byte, error) {
	size, sign := c.shape()
	for u := uint64(n) ^ sign; size > 0; {
		size--
		dst = append(dst, byte(u>>(8*size)))
	}
	return dst, nil
}

// Decode returns the number of data.
func (c Int[T]) Decode(data []byte) (T, error) {
	size, sign := c.shape()
	if len(data) != size {
		return 0, fmt.Errorf("found %d bytes, expected %d", len(data), size)
	}
	u := uint64(0)
	for _, b := range data {
		u = u<<8 | uint64(b)
	}
	return T(u ^ sign), nil
}

// JSON is the JSON of package encoding/json.
type JSON[T any] struct{}

// Append appends the JSON of v.
func (JSON[T]) Append(dst []byte, v T) ([]byte, error) {
	return Marshaled[T]{Marshal: json.Marshal}.Append(dst, v)
}

// Decode returns the value of JSON.
func (JSON[T]) Decode(data []byte) (T, error) {
	return Marshaled[T]{Unmarshal: json.Unmarshal}.Decode(data)
}

// Marshaled is what a pair of functions makes of values, such as those of packages for CBOR,
// MessagePack or YAML. Unmarshal gets a pointer to a zero T, and must copy what it keeps of
// the bytes.
type Marshaled[T any] struct {
	Marshal   func(v any) ([]byte, error)
	Unmarshal func(data []byte, v any) error
}

// Append appends what Marshal returns.
func (c Marshaled[T]) Append(dst []byte, v T) ([]byte, error) {
	data, err := c.Marshal(v)
	if err != nil {
		return dst, err
	}
	return append(dst, data...), nil
}

// Decode returns what Unmarshal makes of data.
func (c Marshaled[T]) Decode(data []byte) (T, error) {
	var v T
	if err := c.Unmarshal(data, &v); err != nil {
		var zero T // v may be half a value
		return zero, err
	}
	return v, nil
}

// Binary is what the methods MarshalBinary and UnmarshalBinary of a type say, such as those of
// netip.Addr and time.Time. P is *T: Binary[netip.Addr, *netip.Addr].
type Binary[T encoding.BinaryMarshaler, P interface {
	*T
	encoding.BinaryUnmarshaler
}] struct{}

// Append appends what MarshalBinary returns.
func (Binary[T, P]) Append(dst []byte, v T) ([]byte, error) {
	data, err := v.MarshalBinary()
	if err != nil {
		return dst, err
	}
	return append(dst, data...), nil
}

// Decode returns what UnmarshalBinary makes of data.
func (Binary[T, P]) Decode(data []byte) (T, error) {
	var v T
	if err := P(&v).UnmarshalBinary(data); err != nil {
		var zero T
		return zero, err
	}
	return v, nil
}
