package cache

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/seed-869cc763/shmkv/shm"
)

// An Item is a value in the cache with what belongs to it.
type Item struct {
	Value []byte
	// Flags are the user's. memcached's clients keep the type of the value in them.
	Flags uint32
	// Marks are eight bits of the user's beside Flags, for what is known of an item rather
	// than of its value. The cache does not look at them. A write that says nothing of them
	// clears them; AppendValue, Increment, Touch and the like keep them.
	Marks uint8
	// Expires is when the item ends, with a resolution of a nanosecond; zero means never.
	Expires time.Time
	// StaleAfter is from when on the item counts as stale; zero means never. A stale item
	// is returned like any other, and Stale tells.
	StaleAfter time.Time
	// Token identifies the write that made the item what it is. It is never 0, and each
	// write draws another one at random, of 63 bits. Touch keeps it. Writes do not look at
	// it, except with IfToken.
	Token uint64
	// Stale tells of an item that was read that its StaleAfter has come, or that its region
	// was invalidated softly after it was written. Writes do not look at it.
	Stale bool
}

// Overhead is how many bytes an item has in its map beside key and value. A slice for
// [Cache.Append] that has room for as many bytes more than the value spares an allocation.
const Overhead = 32

// A tail is what follows the bytes of the value in the map, in Overhead bytes, little-endian:
//
//	0   8  token, not 0
//	8   8  when the item expires, in nanoseconds since 1970; 0: never
//	16  8  from when on it is stale, likewise
//	24  4  flags
//	28  1  marks
//	29  3  generation of the region in which it was written
//
// It is at the end, so that Append need not move the value.
type tail struct {
	token      uint64
	expires    int64
	staleAfter int64
	flags      uint32
	marks      uint8
	generation uint32 // 24 bits
}

const generationMask = 1<<24 - 1

// split takes the bytes of a map's entry apart.
func split(b []byte) (value []byte, t tail, err error) {
	n := len(b) - Overhead
	if n < 0 {
		return nil, t, fmt.Errorf("%w: found an item of %d bytes, expected at least %d", shm.ErrCorrupt, len(b), Overhead)
	}
	p := b[n:]
	last := binary.LittleEndian.Uint32(p[28:])
	t = tail{
		token:      binary.LittleEndian.Uint64(p),
		expires:    int64(binary.LittleEndian.Uint64(p[8:])),
		staleAfter: int64(binary.LittleEndian.Uint64(p[16:])),
		flags:      binary.LittleEndian.Uint32(p[24:]),
		marks:      uint8(last),
		generation: last >> 8,
	}
	if t.token == 0 {
		return nil, t, fmt.Errorf("%w: found an item of token 0, expected another one", shm.ErrCorrupt)
	}
	return b[:n], t, nil
}

// ParseItem returns the item that an entry of a region's map is, also if it has expired. The
// value is part of entry. Stale is not set, because an entry does not tell. If entry has no
// token at its end, the error matches shm.ErrCorrupt.
func ParseItem(entry []byte) (Item, error) {
	value, t, err := split(entry)
	if err != nil {
		return Item{}, fmt.Errorf("cache: parsing an item: %w", err)
	}
	return t.item(value, rule{generation: t.generation}, 0), nil
}

// appendTo appends the bytes of the tail.
func (t tail) appendTo(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, t.token)
	b = binary.LittleEndian.AppendUint64(b, uint64(t.expires))
	b = binary.LittleEndian.AppendUint64(b, uint64(t.staleAfter))
	b = binary.LittleEndian.AppendUint32(b, t.flags)
	return binary.LittleEndian.AppendUint32(b, t.generation<<8|uint32(t.marks))
}

// newToken draws a token. It has 63 bits, for clients of memcached: some keep it in a number
// with a sign, and libmemcached sends no more than 19 digits of it.
func newToken() uint64 {
	for {
		if t := rand.Uint64() >> 1; t != 0 {
			return t
		}
	}
}

// has reports whether a moment has come. 0 is never.
func has(moment, now int64) bool { return moment != 0 && now >= moment }

// item returns the item of a value and its tail.
func (t tail) item(value []byte, r rule, now int64) Item {
	return Item{
		Value:      value,
		Flags:      t.flags,
		Marks:      t.marks,
		Expires:    timeOf(t.expires),
		StaleAfter: timeOf(t.staleAfter),
		Token:      t.token,
		Stale:      t.generation != r.generation || has(t.staleAfter, now),
	}
}

// tail returns the tail of an item that is to be written.
func (it *Item) tail(r rule) tail {
	return tail{newToken(), momentOf(it.Expires), momentOf(it.StaleAfter), it.Flags, it.Marks, r.generation}
}

func timeOf(moment int64) time.Time {
	if moment == 0 {
		return time.Time{}
	}
	return time.Unix(0, moment)
}

// The times that 64 bits of nanoseconds since 1970 can tell.
var (
	firstTime = time.Unix(0, 1)
	lastTime  = time.Unix(0, 1<<63-1)
)

// momentOf returns a time as a tail has it. What lies before 1970 is long ago, and what
// lies beyond the year 2262 is never.
func momentOf(t time.Time) int64 {
	switch {
	case t.IsZero() || t.After(lastTime):
		return 0
	case t.Before(firstTime):
		return 1
	}
	return t.UnixNano()
}
