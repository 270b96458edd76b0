package main

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
)

// Every peer stores the same entries. Key i is splitmix64(i) and then i, both big-endian: distinct, and in no
// order that an index could profit from. A value begins with i, so that every read can be checked, then with a
// stamp that makes overwrites differ, and is zero from there on. The shortest has room for i alone.
const (
	keyBytes      = 16
	minValueBytes = 8
	valueBytes    = 100 // where sizes of values are not what is measured
)

// payload returns the bytes of keys and values in a store of n entries.
func payload(n, valueBytes int) int64 { return int64(n) * int64(keyBytes+valueBytes) }

// splitmix64 is the finalizer of the generator of that name: a bijection of 64-bit words without visible pattern.
func splitmix64(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// putKey writes key i into dst, which has keyBytes bytes.
func putKey(dst []byte, i uint64) {
	binary.BigEndian.PutUint64(dst, splitmix64(i))
	binary.BigEndian.PutUint64(dst[8:], i)
}

// putValue writes the value that belongs to key i into dst, which ends in zeros.
func putValue(dst []byte, i, stamp uint64) {
	binary.LittleEndian.PutUint64(dst, i)
	if len(dst) >= 16 {
		binary.LittleEndian.PutUint64(dst[8:], stamp)
	}
}

// checkValue reports a value that is not one of key i.
func checkValue(value []byte, i uint64, size int) error {
	if len(value) != size || binary.LittleEndian.Uint64(value) != i {
		return fmt.Errorf("key %d: wrong value %x of %d bytes", i, value[:min(len(value), 32)], len(value))
	}
	return nil
}

// A sequence draws key indices below n at random, with repetition; the same in every peer. It is computed, not
// stored, so that it takes no cache away from what is measured.
type sequence struct {
	seed, n uint64
	zipf    float64 // 0 is uniform; else see zipfTop
	sum     uint64  // of the indices drawn: equal sums, equal work
}

func (s *sequence) draw(i uint64) uint64 {
	x := splitmix64(s.seed + i)
	var k uint64
	if s.zipf == 0 {
		k, _ = bits.Mul64(x, s.n)
	} else {
		k = permute(zipfRank(x, s.zipf, s.n), s.n)
	}
	s.sum += k
	return k
}

// zipfRank makes of random bits a rank below n, by Zipf's law with the exponent 0.99: rank r comes up in proportion
// to (r+1)^-0.99. It inverts the integral of that from ½ to n+½ and rounds, which takes a hundredth power: products
// only, so that all languages round alike.
func zipfRank(x uint64, top float64, n uint64) uint64 {
	u := float64(x>>11) / (1 << 53)
	y := zipfBottom + float64(u*(top-zipfBottom)) // the conversion forbids a fused multiply and add
	y2 := y * y
	y4 := y2 * y2
	y8 := y4 * y4
	y16 := y8 * y8
	y32 := y16 * y16
	y64 := y32 * y32
	rank := uint64(float64(y64*y32*y4) + 0.5)
	return min(max(rank, 1), n) - 1
}

// zipfBottom and zipfTop are the hundredth roots of the bounds of that integral, ½ and n+½. Children are told the
// upper one, since roots are not rounded alike everywhere.
const zipfBottom = 0.99309249543703593

func zipfTop(n int) float64 { return math.Pow(float64(n)+0.5, 0.01) }

// permute maps the indices below n to each other, far from their neighbours: multiplication by a prime above n.
func permute(i, n uint64) uint64 { return i * 2654435761 % n }
