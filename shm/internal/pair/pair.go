// Package pair is what the typed views of maps and of caches share: the codecs of keys and
// values as a pair, whose errors name the key and the type, and buffers for their bytes.
package pair

import (
	"fmt"
	"strconv"
	"sync/atomic"

	"github.com/seed-869cc763/shmkv/alloc/region"
	"github.com/seed-869cc763/shmkv/shm/codec"
)

// A Pair is the codecs of a map.
type Pair[K comparable, V any] struct {
	Keys   codec.Codec[K]
	Values codec.Codec[V]
}

// AppendKey appends the bytes of key to dst.
func (p Pair[K, V]) AppendKey(dst []byte, key K) ([]byte, error) {
	b, err := p.Keys.Append(dst, key)
	if err != nil {
		return dst, fmt.Errorf("encoding the key %s as %s: %w", show(key), typeName[K](), err)
	}
	return b, nil
}

// DecodeKey returns the key that data has.
func (p Pair[K, V]) DecodeKey(data []byte) (K, error) {
	key, err := p.Keys.Decode(data)
	if err != nil {
		return key, fmt.Errorf("decoding the key %.40q: %w %s: %w", data, codec.ErrDecode, typeName[K](), err)
	}
	return key, nil
}

// AppendValue appends the bytes of the value of key to dst.
func (p Pair[K, V]) AppendValue(dst []byte, key K, value V) ([]byte, error) {
	b, err := p.Values.Append(dst, value)
	if err != nil {
		return dst, fmt.Errorf("encoding the value of %s as %s: %w", show(key), typeName[V](), err)
	}
	return b, nil
}

// DecodeValue returns the value of key that data has. The error matches codec.ErrDecode.
func (p Pair[K, V]) DecodeValue(key K, data []byte) (V, error) {
	value, err := p.Values.Decode(data)
	if err != nil {
		return value, fmt.Errorf("decoding the value of %s: %w %s: %w", show(key), codec.ErrDecode, typeName[V](), err)
	}
	return value, nil
}

// typeName returns the name of a type, of an interface too.
func typeName[T any]() string { return fmt.Sprintf("%T", (*T)(nil))[1:] }

// show returns a key as an error names it.
func show[K comparable](key K) string {
	const longest = 60
	s := fmt.Sprint(key)
	short := s[:min(len(s), longest)]
	quoted := strconv.Quote(short)
	if _, text := any(key).(string); text || short == "" || quoted[1:len(quoted)-1] != short {
		short = quoted
	}
	if len(s) > longest {
		short += "..."
	}
	return short
}

// A Buffer is memory for the bytes of a key and of its value, for a typed view that is to
// work without allocations.
type Buffer struct{ Key, Value []byte }

// buffers are the buffers that are not in use, by the lanes of goroutines, as those of package
// cache. One step takes a buffer, where a sync.Pool touches several lines of memory.
var buffers [64]atomic.Pointer[Buffer]

// Borrow returns a buffer of length 0, which is the caller's until it calls Return.
func Borrow() *Buffer {
	if b := buffers[region.Lane()%len(buffers)].Swap(nil); b != nil {
		return b
	}
	return &Buffer{}
}

// keepBytes is how large a slice of a buffer can be that is kept.
const keepBytes = 64 << 10

// Return gives the buffer back. Its memory must not be used any more.
func (b *Buffer) Return() {
	if cap(b.Key) > keepBytes || cap(b.Value) > keepBytes {
		return
	}
	b.Key, b.Value = b.Key[:0], b.Value[:0]
	buffers[region.Lane()%len(buffers)].Store(b)
}
