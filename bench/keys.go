package main

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"slices"
)

// All peers store the same entries. Key i is splitmix64(i) followed by i, both big-endian. The keys are distinct, and
// their order is random for any index. A value consists of i, with which each read is checked, of a stamp that
// differs between overwrites, and of zeros. The shortest value contains only i.
const (
	keyBytes      = 16
	minValueBytes = 8
	valueBytes    = 100 // in measurements that do not vary it
)

// payload returns the bytes of keys and values in a store of n entries.
func payload(n, valueBytes int) int64 { return int64(n) * int64(keyBytes+valueBytes) }

// splitmix64 is the finalizer of the generator splitmix64: a bijection of 64-bit words that looks random.
func splitmix64(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// ascending is the order of load in which each key is greater than the one before it.
const ascending = "ascending"

// ascendingIndices returns the indices below n in the order of their keys.
func ascendingIndices(n int) []uint64 {
	indices := make([]uint64, n)
	for i := range indices {
		indices[i] = uint64(i)
	}
	slices.SortFunc(indices, func(a, b uint64) int { return cmp.Compare(splitmix64(a), splitmix64(b)) })
	return indices
}

// putKey writes key i into dst, which has keyBytes bytes.
func putKey(dst []byte, i uint64) {
	binary.BigEndian.PutUint64(dst, splitmix64(i))
	binary.BigEndian.PutUint64(dst[8:], i)
}

// putValue writes the value of key i into dst, whose rest is zero.
func putValue(dst []byte, i, stamp uint64) {
	binary.LittleEndian.PutUint64(dst, i)
	if len(dst) >= 16 {
		binary.LittleEndian.PutUint64(dst[8:], stamp)
	}
}

// checkValue returns an error if value is not a value of key i.
func checkValue(value []byte, i uint64, size int) error {
	if len(value) != size || binary.LittleEndian.Uint64(value) != i {
		return fmt.Errorf("key %d: wrong value %x of %d bytes", i, value[:min(len(value), 32)], len(value))
	}
	return nil
}

// A sequence draws random key indices below n, with repetition, and is the same for all peers. It is computed and not
// stored, so that it takes no space in the caches.
type sequence struct {
	seed, n uint64
	zipf    float64 // 0 is uniform; else see zipfTop
	sum     uint64  // of the indices drawn, and of those found: equal sums, equal work
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

// zipfRank converts random bits to a rank below n by Zipf's law with the exponent 0.99: the probability of rank r is
// proportional to (r+1)^-0.99. It inverts the integral of this function from ½ to n+½ and rounds. The inversion needs
// a hundredth power, which consists of products, so that all languages round alike.
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

// zipfBottom and zipfTop are the hundredth roots of the bounds of this integral, ½ and n+½. Children get the upper
// root as a flag, because languages round roots differently.
const zipfBottom = 0.99309249543703593

func zipfTop(n int) float64 { return math.Pow(float64(n)+0.5, 0.01) }

// permute is a permutation of the indices below n that moves neighbours apart: a multiplication by a prime above n.
func permute(i, n uint64) uint64 { return i * 2654435761 % n }
