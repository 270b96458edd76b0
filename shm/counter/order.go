package counter

import (
	"encoding/binary"
	"fmt"

	"github.com/seed-869cc763/shmkv/shm"
)

// countSize is how many bytes a count takes, before the key in the order and in the map of
// counts.
const countSize = 8

// appendPlace appends the key by which the order has a counter. Places are in the order of
// bytes: by descending counts, then by ascending keys.
func appendPlace(dst []byte, n int64, key []byte) []byte {
	return append(appendPlaceOf(dst, n), key...)
}

// appendPlaceOf appends the bytes with which the places of all counters of a count begin:
// the count with its sign bit turned over is in the order of unsigned numbers, and the
// complement of that is in the opposite order.
func appendPlaceOf(dst []byte, n int64) []byte {
	return binary.BigEndian.AppendUint64(dst, ^(uint64(n) ^ 1<<63))
}

// placed returns the counter that has a place. The key is a part of place.
func placed(place []byte) (key []byte, n int64, err error) {
	if len(place) < countSize {
		return nil, 0, fmt.Errorf("%w: found a place of %d bytes, expected %d or more", shm.ErrCorrupt, len(place), countSize)
	}
	return place[countSize:], int64(^binary.BigEndian.Uint64(place) ^ 1<<63), nil
}

// decodeCount returns the count that an entry of the map of counts has as its value.
func decodeCount(value []byte) (int64, error) {
	if len(value) != countSize {
		return 0, fmt.Errorf("%w: found a count of %d bytes, expected %d", shm.ErrCorrupt, len(value), countSize)
	}
	return int64(binary.LittleEndian.Uint64(value)), nil
}

func appendCount(dst []byte, n int64) []byte { return binary.LittleEndian.AppendUint64(dst, uint64(n)) }
