package counter

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/seed-869cc763/shmkv/shm"
)

// countSize is how many bytes a count takes in the map of counts, and mostOfPlace how many it
// takes at most before the key in a place.
const (
	countSize   = 8
	mostOfPlace = 1 + 8
)

// The first byte of a place says whether the count is negative, and how many bytes of it follow.
const (
	placeOfZero = 0x7f // less the number of bytes, of a count that is not negative
	placeOfOne  = 0x80 // and the number of bytes, of a negative count; -1 has none
)

// appendPlace appends the key by which the order has a counter. Places are in the order of
// bytes: by descending counts, then by ascending keys. Small counts take few bytes, so that the
// first bytes of a place, which package btree compares first, contain some of the key.
func appendPlace(dst []byte, n int64, key []byte) []byte {
	word, sign := uint64(n), uint64(n>>63) // all bits of sign are 1 if n is negative
	size := (bits.Len64(word^sign) + 7) / 8
	first := byte(placeOfZero - size)
	if n < 0 {
		first = byte(placeOfOne + size)
	}
	dst = append(dst, first)
	for at := size - 1; at >= 0; at-- {
		dst = append(dst, ^byte(word>>(8*at)))
	}
	return append(dst, key...)
}

// placed returns the counter that has a place. The key is a part of place.
func placed(place []byte) (key []byte, n int64, err error) {
	if len(place) == 0 {
		return nil, 0, badPlace(place)
	}
	size, sign := placeOfZero-int(place[0]), uint64(0)
	if place[0] >= placeOfOne {
		size, sign = int(place[0])-placeOfOne, ^uint64(0)
	}
	if size > 8 || len(place) < 1+size {
		return nil, 0, badPlace(place)
	}
	word := ^sign // of which the bytes that do not follow are turned over below
	for _, b := range place[1 : 1+size] {
		word = word<<8 | uint64(b)
	}
	if n = int64(^word); uint64(n>>63) != sign || (bits.Len64(uint64(n)^sign)+7)/8 != size {
		return nil, 0, badPlace(place)
	}
	return place[1+size:], n, nil
}

func badPlace(place []byte) error {
	return fmt.Errorf("%w: found %.40x of %d bytes as a place, expected a count and a key", shm.ErrCorrupt, place, len(place))
}

// decodeCount returns the count that an entry of the map of counts has as its value.
func decodeCount(value []byte) (int64, error) {
	if len(value) != countSize {
		return 0, fmt.Errorf("%w: found a count of %d bytes, expected %d", shm.ErrCorrupt, len(value), countSize)
	}
	return int64(binary.LittleEndian.Uint64(value)), nil
}

func appendCount(dst []byte, n int64) []byte { return binary.LittleEndian.AppendUint64(dst, uint64(n)) }
